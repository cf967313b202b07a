"""One site of a sequence program over all of time, as a distribution that Pyro can trace."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions import partial
from pyrodgm.errors import UsageError
from pyrodgm.rollout import Rollout


class Path(TorchDistribution):
    """One site over all of time: drawing runs the recursion, scoring calls the step once.

    Its batch shape ends in time, (..., B, T). The paths of the other sites of the program are
    taken from the rollout, so several sites of one frame may depend on each other.

    Args:
        rollout: the program on its way through time.
        name: of the site.
        dim: its size D.
        seen: True where a feature was observed, (B, T, D); None where all were.
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, rollout: Rollout, name: str, dim: int, seen: Tensor | None = None) -> None:
        self.rollout = rollout
        self.name = name
        self.seen = seen
        shape = rollout.leading + torch.Size([rollout.length])
        super().__init__(shape, torch.Size([dim]), validate_args=False)

    @property
    def has_rsample(self) -> bool:
        return self.rollout.program.reparameterised

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Path:
        """The same site with more particles in front."""
        self.rollout.leading = torch.Size(batch_shape)[:-1]
        return Path(self.rollout, self.name, self.event_shape[0], self.seen)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The whole path, (..., B, T, D), drawn together with every other unknown site."""
        if sample_shape:
            return self.expand(torch.Size(sample_shape) + self.batch_shape).rsample()
        if self.name in self.rollout.given:
            raise UsageError(
                f"site '{self.name}' is given by the batch and the fused program cannot draw it; "
                "use pyrodgm.sequences.unrolled(program) where observations become draws"
            )
        if self.name not in self.rollout.values:
            self.rollout.draw()
        return self.rollout.values[self.name]

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The same path, for whoever does not want gradients through it."""
        return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per frame, (..., B, T)."""
        self.rollout.values[self.name] = value
        return partial(self.rollout.score()[self.name], self.seen).log_prob(value)
