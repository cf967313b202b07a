"""Guides over observations that are models: they draw, and learn from draws, as the model does.

Each takes the options of its model. Only these guides, and those of `with_latents`, import models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, cast, final

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import score, simulate
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.models.base import Model, StepModel
from pyrodgm.models.nade import NADE
from pyrodgm.models.recurrent import RNN, RNNNADE


class ModelGuide(ObservationGuide):
    """A model q as a distribution of the observations of another model p.

    Args:
        model: the model p, whose observations it draws.
        **options: of the model q, which `options_of` names.

    Raises:
        DataError: the model q does not take such observations.
    """

    options_of: ClassVar[type[Model]]

    def __init__(self, model: Target, **options: Any) -> None:
        super().__init__(model)
        self.history = 0
        self.program: Any = cast("Callable[..., Model]", self.options_of)(model.info, **options)

    def forward(self, batch: Batch) -> None:
        """Sample the site ``x``, of batch shape (B, T)."""
        with (
            Weights(self, register=True).stated(),
            pyro.plate("sequences", batch.size, dim=-2),
            pyro.plate("frames", batch.length, dim=-1),
            poutine.mask(mask=batch.mask),  # pyright: ignore[reportArgumentType]
        ):
            pyro.sample("x", OfFrames(self, batch))


class OfFrames(TorchDistribution):
    """The observations of a guide in the shape of a batch, as a distribution of Pyro.

    Args:
        guide: over observations.
        batch: B sequences of T frames; the batch shape is (B, T).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, guide: ObservationGuide, batch: Batch) -> None:
        self.guide, self.batch = guide, batch
        super().__init__(batch.mask.shape, batch.x.shape[-1:], validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> OfFrames:
        """Itself: it has the shape of the batch.

        Raises:
            CompatibilityError: another shape is wanted, such as by a plate of particles.
        """
        if torch.Size(batch_shape) != self.batch_shape:
            raise CompatibilityError(
                f"guide {type(self.guide).__name__} draws observations in the shape of a batch, "
                f"{tuple(self.batch_shape)}, and not {tuple(batch_shape)}; draw in a loop"
            )
        return self

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, (..., B, T, D)."""
        drawn = [self.guide.draw(self.batch) for _ in range(sample_shape.numel())]
        return torch.stack(drawn).reshape(sample_shape + drawn[0].shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of frames, (..., B, T)."""
        return self.guide.log_prob(value, self.batch)


class StepModelGuide(ModelGuide):
    r"""A model without latents as a distribution of observations, with an exact density.

    .. math:: q(x \mid u) = \prod_t q(x_t \mid x_{<t}, u)

    Its gradient by the parameters, at given observations, is that of maximum likelihood.

    Args:
        model: the model p, whose observations it draws.
        **options: of the model q, which `options_of` names.

    Raises:
        DataError: the model q cannot score such observations.
    """

    @torch.no_grad()
    def draw(self, batch: Batch) -> Tensor:
        """One draw of every frame, (B, T, D), without gradients."""
        x = simulate(cast("StepModel", self.program), batch).values["x"][0]
        return x.masked_fill(~batch.mask[..., None], 0.0)

    def log_prob(self, x: Tensor, batch: Batch) -> Tensor:
        """Log-probability of frames given those before, (..., B, T), in nats."""
        return score(self.program, observing(x, batch), {})["x"].reshape(x.shape[:-1])


@final
class RNNGuide(StepModelGuide):
    """The model `rnn` as a distribution of observations; see `StepModelGuide`."""

    traits: ClassVar[GuideTraits] = replace(ObservationGuide.traits, sequential=True)
    options_of = RNN


@final
class RNNNADEGuide(StepModelGuide):
    """The model `rnn-nade` as a distribution of sequences of bits; see `StepModelGuide`."""

    traits: ClassVar[GuideTraits] = replace(ObservationGuide.traits, sequential=True)
    options_of = RNNNADE


@final
class NADEGuide(StepModelGuide):
    """The model `nade` as a distribution of rows of bits; see `StepModelGuide`."""

    traits: ClassVar[GuideTraits] = replace(ObservationGuide.traits, sequential=False)
    options_of = NADE


def observing(x: Tensor, batch: Batch) -> Batch:
    """Observations (..., B, T, D), none of them missing, as a batch of sequences one by one."""
    around = batch if x.dim() == 3 else batch.repeated(math.prod(x.shape[:-3]))
    return replace(around, x=x.reshape(-1, *x.shape[-2:]), seen=None)
