"""Guides over observations: noise and proposal distributions of models without a normaliser."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, final

import pyro
import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import Guide, GuideTraits, Target
from pyrodgm.networks import marginals


class ObservationGuide(Guide):
    r"""A distribution q(x) of observations, or q(x | u) given the conditions of frames.

    Its draws have the lengths and the conditions of a batch, whose observations it does not use.
    Where it has no density, its traits say so, and `log_prob` is not defined.

    Args:
        model: the model p, whose observations it draws.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="none", sequential=None, causal=True, over="observations"
    )

    def __init__(self, model: Target) -> None:
        super().__init__(model)
        self.latents = {}

    @abstractmethod
    def draw(self, batch: Batch) -> Tensor:
        """One draw of every frame, (B, T, D), without gradients; zero in padding.

        Args:
            batch: B sequences with mask and conditions.
        """

    def log_prob(self, x: Tensor, batch: Batch) -> Tensor:
        """Log-probability of frames given those before, (..., B, T), in nats; zero in padding.

        Args:
            x: observations, (..., B, T, D).
            batch: with mask and conditions; its own observations are not used.

        Raises:
            CompatibilityError: the guide has no density.
        """
        del x, batch
        raise CompatibilityError(
            f"guide {type(self).__name__} has no density: its draws have no log-probability"
        )

    def log_bound(self, x: Tensor, batch: Batch) -> Tensor:
        """The log-probability of frames, or a lower bound on it in expectation, (..., B, T).

        Args:
            x: observations, (..., B, T, D).
            batch: with mask and conditions.

        Raises:
            CompatibilityError: the guide has neither.
        """
        return self.log_prob(x, batch)

    @property
    def weighs(self) -> bool:
        """Whether its draws have importance weights, see `weighted`."""
        return self.traits.has_density

    @torch.no_grad()
    def weighted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        r"""Draws, (B, T, D), and numbers log q by frame, (B, T), that give them weights.

        .. math:: \mathrm{E}\, e^{\phi(x) - \log q} = Z

        for any potential, whose normaliser is Z. They are the log-probabilities of the draws if the
        guide has a density.

        Args:
            batch: B sequences with mask and conditions.

        Raises:
            CompatibilityError: the guide has no such numbers.
        """
        x = self.draw(batch)
        return x, self.log_prob(x, batch)

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample the site ``x``."""


@final
class Marginals(ObservationGuide):
    """Independent features, each distributed as in the training data; nothing is learned.

    See `pyrodgm.networks.marginals` for the distribution of a frame.

    Args:
        model: the model p.
        scale: factor of the standard deviations of real numbers.

    Raises:
        DataError: values are neither bits, nor symbols, nor real numbers, or some are missing.
    """

    def __init__(self, model: Target, *, scale: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__(model)
        self.frame = marginals.Marginals(model.info, scale)

    @torch.no_grad()
    def draw(self, batch: Batch) -> Tensor:
        """One draw of every frame, (B, T, D)."""
        drawn = self.frame().sample(batch.mask.shape)
        return drawn if batch.length == 1 else drawn.masked_fill(~batch.mask[..., None], 0.0)

    def log_prob(self, x: Tensor, batch: Batch) -> Tensor:
        """Log-probability of frames, (..., B, T)."""
        nats = self.frame().log_prob(x)
        return nats if batch.length == 1 else nats.masked_fill(~batch.mask, 0.0)  # rows have none

    def forward(self, batch: Batch) -> None:
        """Sample the site ``x``, of batch shape (B, T)."""
        with (
            Weights(self, register=True).stated(),
            pyro.plate("sequences", batch.size, dim=-2),
            pyro.plate("frames", batch.length, dim=-1),
        ):
            pyro.sample("x", self.frame().expand(batch.mask.shape).mask(batch.mask))
