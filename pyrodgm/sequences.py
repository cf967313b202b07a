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

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import pyro
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError

Draw = Callable[[str, TorchDistribution], Tensor]
PyroProgram = Callable[[Batch], None]


class SequenceProgram(Protocol):
    """What `unrolled` and `fused` need; sequence models and sequence guides both are one.

    Args:
        history: how many past frames a step may look at, n.
        latents: name and dimension of every site that is drawn.
        observed: name and dimension of every site whose values the batch gives.
        reparameterised: whether gradients flow through the draws.
    """

    @property
    def history(self) -> int: ...
    @property
    def latents(self) -> Mapping[str, int]: ...
    @property
    def observed(self) -> Mapping[str, int]: ...
    @property
    def reparameterised(self) -> bool: ...

    def encode(self, batch: Batch) -> Tensor | None:
        """Features of the whole batch, (B, T, E), computed once; None where there are none."""
        ...

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw every site of one frame, or of all frames at once: leading dimensions broadcast.

        Args:
            draw: ``draw(name, distribution)`` returns the value of a site.
            past: ``past[name]`` holds the last n values of a site side by side, (..., n D), newest
                first, zero before the first frame.
            encoded: this frame's features, (..., E).
            t: frame number from zero, a scalar or (T,).
        """
        ...


Past = Mapping[str, Tensor]


def lagged(value: Tensor, history: int) -> Tensor:
    """The last `history` values before each frame, side by side, newest first.

    Args:
        value: (..., T, D).
        history: number of lags n.

    Returns:
        (..., T, n D), zero where a lag reaches before the first frame.

    >>> lagged(torch.tensor([[1.0], [2.0], [3.0]]), 2)
    tensor([[0., 0.],
            [1., 0.],
            [2., 1.]])
    """
    length = value.shape[-2]
    shifts = [
        F.pad(value[..., : max(length - lag, 0), :], (0, 0, min(lag, length), 0))
        for lag in range(1, history + 1)
    ]
    return shifts[0] if history == 1 else torch.cat(shifts, -1)


class _ShiftedPast(dict[str, Tensor]):
    """The past of all frames at once, shifted on first use."""

    def __init__(self, values: Mapping[str, Tensor], history: int) -> None:
        super().__init__()
        self.values_by_name = values
        self.history = history

    def __missing__(self, name: str) -> Tensor:
        past = self[name] = lagged(self.values_by_name[name], self.history)
        return past


class Rollout:
    """A step function carried over the T frames of a batch.

    Args:
        program: the sequence program.
        encoded: its features, (B, T, E) or None.
        known: values given in advance, site name to (..., T, D).
        leading: shape of everything drawn in front of time, usually (K, B) or (B,).
        length: number of frames T.
        like: a tensor of the wanted dtype and device.
    """

    def __init__(
        self,
        program: SequenceProgram,
        encoded: Tensor | None,
        known: Mapping[str, Tensor],
        *,
        leading: torch.Size,
        length: int,
        like: Tensor,
    ) -> None:
        self.program = program
        self.encoded = encoded
        self.given = frozenset(known)
        self.values = dict(known)
        self.leading = leading
        self.length = length
        self.like = like
        self._scored: tuple[dict[str, Tensor], dict[str, TorchDistribution]] = ({}, {})

    def draw(self) -> dict[str, Tensor]:
        """Draw every unknown site frame by frame, (*leading, T, D), and remember the paths."""
        program = self.program
        sites = {**program.latents, **program.observed}
        unknown = {name: dim for name, dim in sites.items() if name not in self.values}
        given = _ShiftedPast(self.values, program.history)
        window = {
            name: self.like.new_zeros(*self.leading, program.history * dim)
            for name, dim in unknown.items()
        }
        given_past = {name: given[name].unbind(-2) for name in sites if name not in unknown}
        known = {name: value.unbind(-2) for name, value in self.values.items()}
        encoded = None if self.encoded is None else self.encoded.unbind(-2)
        source = _NoiseSource(self.leading, self.length)
        paths: dict[str, list[Tensor]] = {name: [] for name in unknown}

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            if name not in unknown:
                return known[name][t]
            value = source.draw(name, distribution, t)
            paths[name].append(value)
            return value

        with nullcontext() if program.reparameterised else torch.no_grad():
            for t, frame in enumerate(torch.arange(self.length, device=self.like.device)):
                past = {**window, **{name: steps[t] for name, steps in given_past.items()}}
                program.step(draw, past, None if encoded is None else encoded[t], frame)
                for name, dim in unknown.items():
                    window[name] = _push(window[name], paths[name][-1], dim)
            self.values.update({name: torch.stack(path, -2) for name, path in paths.items()})
        return self.values

    def score(self) -> dict[str, TorchDistribution]:
        """Every site's distribution at every frame, given the paths; batch shape (*leading, T)."""
        paths, scored = self._scored
        if any(paths.get(name) is not value for name, value in self.values.items()):
            scored = {}

            def draw(name: str, distribution: TorchDistribution) -> Tensor:
                scored[name] = distribution
                return self.values[name]

            past = _ShiftedPast(self.values, self.program.history)
            frames = torch.arange(self.length, device=self.like.device)
            self.program.step(draw, past, self.encoded, frames)
            self._scored = (dict(self.values), scored)
        return scored


def _push(window: Tensor, value: Tensor, dim: int) -> Tensor:
    """The window of past values after one more frame."""
    if window.shape[-1] == dim:
        return value
    return torch.cat([value, window[..., :-dim]], -1)


class _NoiseSource:
    """Draws one frame at a time from noise made for all frames at once, where that is possible."""

    def __init__(self, leading: torch.Size, length: int) -> None:
        self.leading = leading
        self.length = length
        self.noise: dict[str, tuple[Tensor, ...]] = {}

    def draw(self, name: str, distribution: TorchDistribution, t: int) -> Tensor:
        if not hasattr(distribution, "from_noise"):
            expanded = distribution.expand(self.leading)
            return expanded.rsample() if expanded.has_rsample else expanded.sample()
        source: Any = distribution
        if name not in self.noise:
            shape = torch.Size([self.length]) + self.leading + distribution.event_shape
            self.noise[name] = source.noise(shape, source.mean).unbind(0)
        return source.from_noise(self.noise[name][t])


class Path(TorchDistribution):
    """One site over all of time: drawing runs the recursion, scoring calls the step once.

    Its batch shape ends in time, (..., B, T). The paths of the other sites of the program are
    taken from the rollout, so several sites of one frame may depend on each other.
    """

    arg_constraints = {}  # noqa: RUF012
    support = constraints.real_vector  # type: ignore[assignment]

    def __init__(self, rollout: Rollout, name: str, dim: int) -> None:
        self.rollout = rollout
        self.name = name
        shape = rollout.leading + torch.Size([rollout.length])
        super().__init__(shape, torch.Size([dim]), validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.rollout.program.reparameterised

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Path:
        """The same site with more particles in front."""
        self.rollout.leading = torch.Size(batch_shape)[:-1]
        return Path(self.rollout, self.name, self.event_shape[0])

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The whole path, (..., B, T, D), drawn together with every other unknown site."""
        if sample_shape:
            return self.expand(torch.Size(sample_shape) + self.batch_shape).rsample()
        if self.name in self.rollout.given:
            raise UsageError(
                f"site '{self.name}' is given by the batch and cannot be drawn in the fused program; "
                "use pyrodgm.sequences.unrolled(program) where observations become draws"
            )
        if self.name not in self.rollout.values:
            self.rollout.draw()
        return self.rollout.values[self.name]

    sample = rsample

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per frame, (..., B, T)."""
        self.rollout.values[self.name] = value
        return self.rollout.score()[self.name].log_prob(value)


def fused(program: SequenceProgram) -> PyroProgram:
    """The program as one site per name spanning all of time, batch shape (B, T).

    Particles go in front, in a plate at dimension -3. Use `unrolled` under handlers that change
    single frames or that turn observations back into draws.
    """

    def run(batch: Batch) -> None:
        known = {name: batch.x for name in program.observed}
        rollout = Rollout(
            program,
            program.encode(batch),
            known,
            leading=torch.Size([batch.size]),
            length=batch.length,
            like=batch.x,
        )
        with (
            pyro.plate("batch", batch.size, dim=-2),
            pyro.plate("time", batch.length, dim=-1),
            poutine.mask(mask=batch.mask),
        ):
            for name, dim in program.latents.items():
                rollout.values[name] = pyro.sample(name, Path(rollout, name, dim))
            for name, dim in program.observed.items():
                pyro.sample(name, Path(rollout, name, dim), obs=known[name])

    return run


def unrolled(program: SequenceProgram) -> PyroProgram:
    """The program as one site per name and frame, ``z_1 .. z_T``, batch shape (B,).

    The form that a Pyro user reads, enumerates and runs SMC on. Particles go in a plate at
    dimension -2.
    """

    def run(batch: Batch) -> None:
        encoded = program.encode(batch)
        sites = {**program.latents, **program.observed}
        window = {
            name: batch.x.new_zeros(batch.size, program.history * dim)
            for name, dim in sites.items()
        }
        with pyro.plate("batch", batch.size, dim=-1):
            for t in pyro.markov(range(batch.length), history=program.history):
                values: dict[str, Tensor] = {}

                def draw(
                    name: str,
                    distribution: TorchDistribution,
                    t: int = t,
                    values: dict[str, Tensor] = values,
                ) -> Tensor:
                    observed = batch.x[:, t] if name in program.observed else None
                    values[name] = pyro.sample(f"{name}_{t + 1}", distribution, obs=observed)
                    return values[name]

                with poutine.mask(mask=batch.mask[:, t]):
                    frame = torch.tensor(t, device=batch.x.device)
                    program.step(draw, window, None if encoded is None else encoded[:, t], frame)
                window = {
                    name: _push(_expand(window[name], values[name]), values[name], sites[name])
                    for name in sites
                }

    return run


def _expand(window: Tensor, value: Tensor) -> Tensor:
    """A window with the leading dimensions that a value drawn under particles has gained."""
    return window.expand(*value.shape[:-1], window.shape[-1])


def generate(program: SequenceProgram, num: int, length: int, like: Tensor) -> dict[str, Tensor]:
    """Ancestral draws of every site, each (num, length, D); `like` gives dtype and device."""
    if length < 1 or num < 1:
        raise UsageError(f"cannot generate {num} sequences of {length} frames; both must be >= 1")
    rollout = Rollout(program, None, {}, leading=torch.Size([num]), length=length, like=like)
    with torch.no_grad():
        return rollout.draw()
