"""What unnormalised distributions can do: potentials, draws, and paths from a known one."""

from __future__ import annotations

from typing import Protocol

from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch


class Annealing(Protocol):
    r"""A path of distributions from a known one, at beta = 0, to a wanted one, at beta = 1.

    .. math:: p_\beta(x) = \exp(\phi_\beta(x)) / Z_\beta

    The end is an energy model of rows, or the posterior of latents given every sequence of a batch.
    The shapes below are those of rows; a path of latents has (num, B, T, J) and (num, B).
    """

    def log_normaliser(self) -> Tensor:
        """Log Z at the start, beta = 0, in nats, a scalar."""
        ...

    def start(self, num: int) -> Tensor:
        """Independent draws at beta = 0, (num, D)."""
        ...

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        ...

    def move(self, x: Tensor, beta: float) -> Tensor:
        """A draw given rows (num, D) that satisfies detailed balance with p at beta."""
        ...


class Energies(Protocol):
    """The unnormalised distributions of the frames of one batch, to evaluate them several times."""

    def potential(self, x: Tensor) -> Tensor:
        """The unnormalised log-density by frame, (..., B, T), of observations (..., B, T, D)."""
        ...

    def gibbs(self, x: Tensor) -> Tensor:
        """One sweep of draws, which leaves the distributions unchanged, (..., B, T, D)."""
        ...


class FrameEnergies(Energies, Protocol):
    """The distributions of frames given those before them, each with a normaliser of its own.

    Frames may have any leading dimensions (...) instead of (B, T).
    """

    def log_normaliser(self) -> Tensor:
        """The exact log Z of every frame, (...), in nats, in double precision."""
        ...

    def annealing(self) -> Annealing:
        """A path for all frames at once: from a known distribution of each, (num, ..., D)."""
        ...

    def emission(self, x: Tensor) -> TorchDistribution:
        """The distribution from which a sweep from x draws frames, of batch shape (...)."""
        ...


class Noise(Protocol):
    """A distribution of observations in the shape of a batch, such as a guide over observations."""

    def log_prob(self, x: Tensor, batch: Batch) -> Tensor:
        """Log-probabilities by frame, (B, T), in nats, of observations (B, T, D)."""
        ...
