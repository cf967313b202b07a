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
from pyrodgm.distributions import partial
from pyrodgm.errors import UsageError
from pyrodgm.lags import lagged
from pyrodgm.past import Draw, Past, ShiftedPast, join
from pyrodgm.path import Path
from pyrodgm.rollout import Rollout, SequenceProgram, seen_values

__all__ = ["Draw", "Past", "SequenceProgram", "fused", "generate", "join", "lagged", "unrolled"]

PyroProgram = Callable[[Batch], None]


def fused(program: SequenceProgram) -> PyroProgram:
    """The program as one site per name spanning all of time, batch shape (B, T).

    Particles go in front, in a plate at dimension -3. Use `unrolled` under handlers that change
    single frames or that turn observations back into draws.
    """

    def run(batch: Batch) -> None:
        known = dict.fromkeys(program.observed, batch.x)
        rollout = Rollout.over(program, batch, known)
        with (
            pyro.plate("batch", batch.size, dim=-2),
            pyro.plate("time", batch.length, dim=-1),
            poutine.mask(mask=_bool(batch.mask)),
        ):
            for name, dim in program.latents.items():
                rollout.values[name] = pyro.sample(name, Path(rollout, name, dim))
            for name, dim in program.observed.items():
                pyro.sample(name, Path(rollout, name, dim, batch.seen), obs=known[name])

    return run


def unrolled(program: SequenceProgram) -> PyroProgram:
    """The program as one site per name and frame, ``z_1 .. z_T``, batch shape (B,).

    The form that a Pyro user reads, enumerates and runs SMC on. Particles go in a plate at
    dimension -2.
    """

    def run(batch: Batch) -> None:
        encoded = program.encode(batch)
        sites = {**program.latents, **program.observed}
        past = Past(
            {name: batch.x.new_zeros(batch.size, program.history * d) for name, d in sites.items()}
        )
        seen = ShiftedPast(seen_values(program, batch), program.history)
        with pyro.plate("batch", batch.size, dim=-1):
            for t in pyro.markov(range(batch.length), history=program.history):
                values: dict[str, Tensor] = {}

                def draw(
                    name: str,
                    distribution: TorchDistribution,
                    t: int = t,
                    values: dict[str, Tensor] = values,
                ) -> Tensor:
                    observed = None
                    if name in program.observed:
                        observed, seen = batch.x[:, t], batch.seen
                        distribution = partial(distribution, None if seen is None else seen[:, t])
                    values[name] = pyro.sample(f"{name}_{t + 1}", distribution, obs=observed)
                    return values[name]

                with poutine.mask(mask=_bool(batch.mask[:, t])):
                    frame = torch.tensor(t, device=batch.x.device)
                    past.update({key: seen[key][:, t] for key in seen.values_by_name})
                    program.step(draw, past, None if encoded is None else encoded[:, t], frame)
                for name, dim in sites.items():
                    past[name] = _expand(past[name], values[name])
                    past.push(name, values[name], dim)

    return run


def _bool(mask: Tensor) -> torch.BoolTensor:
    """The same mask, as Pyro's annotations call it."""
    return cast("torch.BoolTensor", mask)


def _expand(window: Tensor, value: Tensor) -> Tensor:
    """A window with the leading dimensions that a value drawn under particles has gained."""
    return window.expand(*value.shape[:-1], window.shape[-1])


def generate(
    program: SequenceProgram, num: int, length: int, like: Tensor, *, means: bool = False
) -> dict[str, Tensor]:
    """Ancestral draws of every site, each (num, length, D).

    Args:
        program: the sequence program.
        num: how many sequences.
        length: frames of each.
        like: gives dtype and device.
        means: observations take, and feed back, their mean given the latents instead of a draw;
            right for grey values scored by cross-entropy, where a draw would be black or white.

    Raises:
        UsageError: nothing to draw.
    """
    if length < 1 or num < 1:
        raise UsageError(f"cannot generate {num} sequences of {length} frames; both must be >= 1")
    rollout = Rollout(
        program,
        None,
        {},
        leading=torch.Size([num]),
        length=length,
        like=like,
        expected=program.observed if means else (),
    )
    with torch.no_grad():
        return rollout.draw()
