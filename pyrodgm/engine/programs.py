"""One definition of a sequence program, two executions: unrolled in time and fused over time.

A sequence program says what happens in one frame, given the frames before it::

    def step(self, draw, past, encoded, t):
        z = draw("z", BernoulliVector(self.W1(past["z"]) + self.W3(past["x"]) + self.b(t)))
        draw("x", BernoulliVector(self.W2(z) + self.W4(past["x"]) + self.c(t)))

From it `unrolled` makes an ordinary Pyro program with sites ``z_1, x_1, z_2, ...`` inside
`pyro.markov`, and `fused` one with a single site per name that spans all of time: the path is
drawn in a tight loop, and then scored for every frame at once by calling the same step on the
path shifted by one frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import MOST_BITS, bit_vectors, is_bits, numbered, partial
from pyrodgm.engine.past import Draw, Past, ShiftedPast, join
from pyrodgm.engine.path import FusedRun
from pyrodgm.engine.rollout import Rollout
from pyrodgm.engine.sequence_program import SequenceProgram, seen_values
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.lags import lagged

__all__ = ["Draw", "Past", "SequenceProgram", "fused", "generate", "join", "lagged", "unrolled"]

PyroProgram = Callable[[Batch], None]


def fused(program: SequenceProgram, *, register: bool = True) -> PyroProgram:
    """The program as one site per name that spans all of time: batch shape (B,), event (T, D).

    The plate "batch" is at dimension -1; a plate of particles goes to -2. A handler may give,
    change or hide whole sites; use `unrolled` for single frames.

    Args:
        program: the sequence program.
        register: whether its parameters are stated to Pyro, as `pyro.module` does it.
    """

    def run(batch: Batch) -> None:
        weights = Weights(program, register=register)
        with weights.stated(), pyro.plate("batch", batch.size, dim=-1):
            FusedRun(program, batch, weights).state()

    return run


def unrolled(
    program: SequenceProgram, *, register: bool = True, enumerable: bool = False
) -> PyroProgram:
    """The program as one site per name and frame, ``z_1 .. z_T``, batch shape (B,).

    The form that a Pyro user reads, enumerates and runs SMC on. The plate "batch" is at dimension
    -1; a plate of particles goes to -2.

    Args:
        program: the sequence program.
        register: whether its parameters are stated to Pyro, as `pyro.module` does it.
        enumerable: state a vector of J bits by its number among all 2^J, a categorical site, for
            Pyro's enumeration takes single numbers; `pyrodgm.distributions.bit_vectors` has the
            vectors in this order.

    Raises:
        CompatibilityError: a vector has too many bits to be enumerated.
    """

    def run(batch: Batch) -> None:
        if enumerable:
            _refuse_many(program, batch)
        with Weights(program, register=register).stated():
            _run_frames(program, batch, enumerable=enumerable)

    return run


def _run_frames(program: SequenceProgram, batch: Batch, *, enumerable: bool) -> None:
    encoded = program.encode(batch)
    sites = program.dims
    before, history = batch.before, program.history
    windows = {name: batch.x.new_zeros(batch.size, history, d) for name, d in sites.items()}
    windows |= {name: before.windows[name][:, :history] for name in before.windows.keys() & sites}
    past = Past({name: value.flatten(-2) for name, value in windows.items()}, before.states)
    seen = ShiftedPast(seen_values(program, batch), history, lags=batch.lags)
    numbers = batch.frames
    frames = range(batch.length)
    with pyro.plate("batch", batch.size, dim=-1):
        for t in frames if _endless(program) else pyro.markov(frames, history=program.history):
            values: dict[str, Tensor] = {}

            def draw(
                name: str,
                distribution: TorchDistribution,
                t: int = t,
                values: dict[str, Tensor] = values,
            ) -> Tensor:
                site = f"{name}_{t + 1}"
                if name in program.observed:
                    part = partial(distribution, None if batch.seen is None else batch.seen[:, t])
                    values[name] = pyro.sample(site, part, obs=batch.x[:, t])
                elif enumerable and is_bits(distribution):
                    number = pyro.sample(site, numbered(distribution, batch.x))
                    values[name] = bit_vectors(distribution.event_shape[0], like=batch.x)[number]
                else:
                    values[name] = pyro.sample(site, distribution)
                return values[name]

            with poutine.mask(mask=_bool(batch.mask[:, t])):
                past.update({key: seen[key][:, t] for key in seen.values_by_name})
                program.step(draw, past, None if encoded is None else encoded[:, t], numbers[t])
            for name, dim in sites.items():
                past.push(name, values[name], dim)


def _endless(program: SequenceProgram) -> bool:
    """Whether every later frame may look at a draw: through a state, or in the model of a guide.

    Pyro uses a dimension of enumeration again where `pyro.markov` says that a draw is forgotten.
    """
    return bool(program.states) or not program.observed


def _refuse_many(program: SequenceProgram, batch: Batch) -> None:
    """Raise where more bits are enumerated at once than can be."""
    each = sum(sizes(program.latents).values())
    bits = each * (batch.length if _endless(program) else 1)
    if bits > MOST_BITS:
        together = f"{batch.length} frames of {each} bits, which are enumerated together"
        raise CompatibilityError(
            f"{type(program).__name__} has {together if bits > each else f'{each} bits a frame'}: "
            f"2^{bits} values, and at most 2^{MOST_BITS} can be enumerated; draw them, from a guide"
        )


def _bool(mask: Tensor) -> torch.BoolTensor:
    """The same mask, as Pyro's annotations call it."""
    return cast("torch.BoolTensor", mask)


def generate(
    program: SequenceProgram,
    num: int,
    length: int,
    like: Tensor,
    *,
    means: bool = False,
    conditions: Tensor | None = None,
) -> dict[str, Tensor]:
    """Ancestral draws of every site, each (num, length, D).

    Args:
        program: the sequence program.
        num: how many sequences.
        length: frames of each.
        like: gives dtype and device.
        means: observations take, and feed back, their mean given the latents instead of a draw;
            right for grey values scored by cross-entropy, where a draw would be black or white.
        conditions: what the program is given of every frame, (num, length, U), in the data's units.

    Raises:
        UsageError: nothing to draw.
        DataError: the program takes other conditions.
    """
    if length < 1 or num < 1:
        raise UsageError(f"cannot generate {num} sequences of {length} frames; both must be >= 1")
    blank = like.new_zeros(num, length, sum(program.observed.values()))
    rollout = Rollout(
        program,
        program.encode(Batch.of(blank, conditions)),
        {},
        leading=torch.Size([num]),
        length=length,
        like=like,
        expected=program.observed if means else (),
    )
    with torch.no_grad():
        return rollout.draw()
