"""The sites of a fused program, each over all of time, as distributions that Pyro can trace."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.ops.provenance import detach_provenance
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.rollout import Rollout
from pyrodgm.engine.sequence_program import SequenceProgram, seen_values
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError


class Path(TorchDistribution):
    r"""One site over all of time, given the paths of all other sites of the program.

    .. math:: \log p(z) = \sum_t \log p(z_t \mid z_{<t}, \text{the other sites})

    Time is an event dimension and not a batch dimension, since frames depend on each other: the
    batch shape is (..., B), the event shape (T, D). Padded frames count nothing.

    Args:
        run: the run of the program that the site belongs to.
        name: of the site.
        batch_shape: of everything drawn in front of time.
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    def __init__(self, run: FusedRun, name: str, batch_shape: torch.Size) -> None:
        self.run, self.name = run, name
        event_shape = torch.Size([run.batch.length, run.dims[name]])
        super().__init__(batch_shape, event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether gradients flow through its draws."""
        return self.run.program.carries_gradients(self.name)

    @property
    def support(self) -> Any:
        """That of a frame, over all of time."""
        return constraints.independent(self.run.supports[self.name], 1)

    @property
    def has_enumerate_support(self) -> bool:
        """Whether Pyro's enumeration comes to this site, which then refuses it."""
        return bool(self.support.is_discrete)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Refused: the values of a path are too many, and depend on each other.

        Raises:
            CompatibilityError: always.
        """
        del expand
        raise CompatibilityError(
            f"site '{self.name}' spans all of time, and its paths cannot be enumerated; take "
            "pyrodgm.engine.programs.unrolled(program, enumerable=True)"
        )

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Path:
        """The same site with more in front."""
        return Path(self.run, self.name, torch.Size(batch_shape))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """New paths, sample_shape + (..., B, T, D)."""
        return self.run.draw(self.name, torch.Size(sample_shape), self.batch_shape)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """New paths without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats of the whole path, (..., B)."""
        nats = self.frame_log_probs(value).sum(-1)
        return nats.expand(torch.broadcast_shapes(nats.shape, self.batch_shape))

    def frame_log_probs(self, value: Tensor) -> Tensor:
        """Nats of every frame given those before it, (..., B, T), zero where padded."""
        batch = self.run.batch
        found = self.run.distributions({self.name: value}, self.batch_shape)[self.name]
        seen = batch.seen if self.name in self.run.program.observed else None
        return torch.where(batch.mask, partial(found, seen).log_prob(value), batch.x.new_zeros(()))


class FusedRun:
    """One run of a fused program under Pyro: the value of every site, as Pyro has it.

    What a handler says of one latent site must be known where another is drawn, and sites may
    depend on each other in both directions, from frame to frame. So the first one that needs a draw
    first states all others to Pyro; those that need one too are then drawn together with it.

    Args:
        program: the sequence program.
        batch: B sequences.
        weights: of the program in this run.
    """

    def __init__(self, program: SequenceProgram, batch: Batch, weights: Weights) -> None:
        self.program, self.batch, self.weights = program, batch, weights
        self.dims = program.dims
        self.encoded = program.encode(batch)
        self.values: dict[str, Tensor] = {}
        self._waiting = list(program.latents)
        self._drawn: dict[str, Tensor] = {}  # together, by the latent site that was stated last
        self._taken: set[str] = set()
        self._newest: Rollout | None = None

    def state(self) -> None:
        """State every site to Pyro."""
        self._state_latents()
        for name in self.program.observed:
            value = pyro.sample(name, self._site(name), obs=self.batch.x)
            if not _same(value, self.batch.x):
                self._refuse_other_data(name)
            self.values[name] = value

    def _state_latents(self) -> None:
        """State those that have not been stated yet."""
        while self._waiting:
            name = self._waiting.pop(0)
            self._settle(name, pyro.sample(name, self._site(name)))

    def _site(self, name: str) -> Path:
        return Path(self, name, torch.Size([self.batch.size]))

    def draw(self, name: str, sample_shape: torch.Size, batch_shape: torch.Size) -> Tensor:
        """Paths of a site; a latent one within the run with all others that have no value yet."""
        self._state_latents()
        leading = sample_shape + batch_shape
        if sample_shape or name in self.values or name in self.program.observed:
            return self._paths(name, leading)[name]
        if name in self._taken or name not in self._drawn:
            self._drawn, self._taken = self._paths(name, leading), set()
        self._taken.add(name)
        return self._drawn[name]

    def distributions(
        self, values: Mapping[str, Tensor], leading: torch.Size
    ) -> dict[str, TorchDistribution]:
        """Every site's distribution in every frame, given these values and those of the run."""
        known = {**self.values, **values}
        newest = self._newest
        if newest is None or any(newest.values[name] is not known[name] for name in known):
            newest = self._newest = self._rollout(known, leading)
        with self.weights.again():
            return newest.score()

    @cached_property
    def supports(self) -> dict[str, Any]:
        """Of every site in a frame."""
        shape = self.batch.mask.shape
        known = {name: self.batch.x.new_zeros(*shape, dim) for name, dim in self.dims.items()}
        with torch.no_grad(), self.weights.again():
            found = self._rollout(known, torch.Size([self.batch.size])).score()
        return {name: distribution.support for name, distribution in found.items()}

    def _settle(self, name: str, value: Tensor) -> None:
        """Take the value of a site from Pyro; where it is not the one drawn, a handler set it."""
        shape = torch.Size([self.batch.length, self.dims[name]])
        if value.dim() < 3 or value.shape[-2:] != shape:
            raise CompatibilityError(
                f"site '{name}' has a value of shape {tuple(value.shape)}; expected (..., "
                f"{self.batch.size}, {shape[0]}, {shape[1]}), all frames of all sequences"
            )
        drawn = self._drawn.get(name)
        if drawn is not None and not _same(drawn, value):
            if together := sorted(self._drawn.keys() & self.values.keys()):
                raise CompatibilityError(
                    f"a handler set site '{name}' after {', '.join(together)} had been drawn with "
                    "another value of it; take pyrodgm.engine.programs.unrolled(program)"
                )
            self._drawn = {}
        self.values[name] = value

    def _refuse_other_data(self, name: str) -> None:
        """Raise where latents were drawn given other observations than a handler says."""
        if self._taken:
            raise CompatibilityError(
                f"a handler set site '{name}' after {', '.join(sorted(self._taken))} had been "
                "drawn given the batch; pass a batch with other observations, or take "
                "pyrodgm.engine.programs.unrolled(program), where observations may become draws"
            )

    def _paths(self, name: str, leading: torch.Size) -> dict[str, Tensor]:
        """Draws of a site and of all others without a value, each (*leading, T, D)."""
        known = dict.fromkeys(self.program.observed, self.batch.x) | self.values
        known.pop(name, None)
        with self.weights.again():
            paths = self._rollout(known, leading).draw()
        return {site: paths[site] for site in self.dims if site not in known}

    def _rollout(self, known: Mapping[str, Tensor], leading: torch.Size) -> Rollout:
        return Rollout(
            self.program,
            self.encoded,
            {**known, **seen_values(self.program, self.batch)},
            leading=leading,
            length=self.batch.length,
            like=self.batch.x,
            lags=self.batch.lags,
        )


def _same(one: Tensor, other: Tensor) -> bool:
    one, other = detach_provenance(one), detach_provenance(other)
    return one is other or torch.equal(one, other)
