"""Guides over observations that are models: they draw, and learn from draws, as the model does.

Each takes the options of its model. No other guide imports a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, ClassVar, cast, final

import pyro
import torch
from pydantic import Field
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.draws import draw, score, simulate
from pyrodgm.engine.implicit import standard_normal
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.guides.rows import DiagonalNormal
from pyrodgm.models.base import Model, StepModel
from pyrodgm.models.generator import FeedForwardGenerator
from pyrodgm.models.nade import NADE
from pyrodgm.models.recurrent import RNN, RNNNADE
from pyrodgm.models.vae import VAE

MIXED = 1000  # draws of a generator's noise in a mixture of its outputs
NUMBERS_AT_ONCE = 2**22  # draws x rows x features of a mixture: bounds memory


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


@final
class VAEGuide(ModelGuide):
    r"""The model `vae` with normal latents as a distribution of rows.

    .. math:: q(x) = \int q(h)\, q(x \mid h)\, dh, \qquad
        \log q(x) \ge \mathrm{E}_{r(h \mid x)} \log \frac{q(h)\, q(x \mid h)}{r(h \mid x)}

    with the recognition network r of the guide `gaussian`. `log_prob` is the bound with one draw of
    h, so that the trait `has_density` is False. Its gradient trains q and r.

    Args:
        model: the model p, whose observations it draws.
        **options: of the model `vae`.

    Raises:
        CompatibilityError: the latents are not normal.
        DataError: the emission cannot score such observations.
    """

    traits: ClassVar[GuideTraits] = replace(
        ObservationGuide.traits, sequential=False, has_density=False
    )
    options_of = VAE

    def __init__(self, model: Target, **options: Any) -> None:
        super().__init__(model, **options)
        if self.program.traits.latents != "continuous":
            raise CompatibilityError(
                f"guide vae has normal latents, but latents is '{options['latents']}'; leave "
                "guide.latents out"
            )
        self.recognition = DiagonalNormal(self.program)

    @torch.no_grad()
    def draw(self, batch: Batch) -> Tensor:
        """One draw of every row, (B, T, D), without gradients."""
        return self.weighted(batch)[0]

    def log_prob(self, x: Tensor, batch: Batch) -> Tensor:
        """A lower bound on the log-probability of rows in expectation, (..., B, T)."""
        seen = observing(x, batch)
        drawn = draw(self.recognition, seen)
        nats = _total(score(self.program, seen, drawn.values)) - _total(drawn.log_probs)
        return nats.reshape(x.shape[:-1])

    @property
    def weighs(self) -> bool:
        r"""Yes: by the density of rows and latents together, with r as the posterior of latents.

        .. math:: \mathrm{E}_{q(x, h)}\, e^{\phi(x)}\, r(h \mid x) \,/\, (q(h)\, q(x \mid h)) = Z
        """
        return True

    @torch.no_grad()
    def weighted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draws (B, T, D), and log q(h) q(x | h) / r(h | x) of the latents they were drawn with."""
        values = dict(simulate(self.program, batch).values)
        x = values.pop("x")[0].masked_fill(~batch.mask[..., None], 0.0)
        seen = observing(x, batch)
        proposed = _total(score(self.recognition, seen, values))
        return x, _total(score(self.program, seen, values)) - proposed


@final
class GeneratorGuide(ModelGuide):
    r"""The model `generator` with noise on its output, as a distribution of rows.

    .. math::
        h \sim \mathcal N(0, I), \qquad
        \text{real: } x \sim \mathcal N\big(g(h, u), (s\, \sigma)^2\big), \quad
        \text{bits: } x \sim \mathrm{Bernoulli}\big(\mathrm{sigmoid}\, g(h, u)\big)

    where :math:`\sigma` are the standard deviations of the training data. The density of x is not
    known, but that of x and h together is. Draws of real numbers carry gradients.

    Args:
        model: the model p, whose observations it draws.
        output_std: s, the standard deviation of the noise on real numbers.
        **options: of the model `generator`, without latents.

    Raises:
        CompatibilityError: the generator has latents.
        DataError: observations are neither real-valued nor bits.
    """

    traits: ClassVar[GuideTraits] = replace(
        ObservationGuide.traits, sequential=False, has_density=False, reparameterised=True
    )
    options_of = FeedForwardGenerator

    def __init__(
        self, model: Target, *, output_std: Annotated[float, Field(gt=0)] = 0.03, **options: Any
    ) -> None:
        super().__init__(model, **options)
        if self.program.latents:
            raise CompatibilityError(
                "all noise of guide generator is integrated out; leave guide.latent_dim out, and "
                "give guide.noise_dim"
            )
        self.output_std = output_std

    @torch.no_grad()
    def draw(self, batch: Batch) -> Tensor:
        """One draw of every row, (B, T, D), without gradients."""
        return self.joint(batch)[0]

    def joint(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draws x, (B, T, D), and the noise h that they were drawn with, (B, T, N).

        Real numbers carry gradients to the parameters.
        """
        size = self.program.input_dim
        h = standard_normal(size, batch).noise(torch.Size((*batch.mask.shape, size)))
        emission = self.emission(h, batch)
        x = emission.from_noise(emission.noise(torch.Size((*batch.mask.shape, batch.x.shape[-1]))))
        return x.masked_fill(~batch.mask[..., None], 0.0), h

    def log_joint(self, x: Tensor, h: Tensor, batch: Batch) -> Tensor:
        """Log q(x, h) of rows (..., B, T, D) and noise (..., B, T, N), (..., B, T), in nats."""
        prior = standard_normal(h.shape[-1], batch).log_prob(h)
        return (prior + self.emission(h, batch).log_prob(x)).masked_fill(~batch.mask, 0.0)

    @property
    def weighs(self) -> bool:
        r"""Yes, without conditions: by the mixture of its outputs at M = 1000 draws of the noise.

        .. math:: q_M(x) = \frac1M \sum_m q(x \mid h_m), \qquad h_m \sim \mathcal N(0, I)

        Rows drawn from it have its density, whatever the noise is, and are distributed as those of
        the guide. A mean over the noise of :math:`\log q_M(x)` is a lower bound on
        :math:`\log q(x)`.
        """
        return self.program.info.num_conditions == 0

    @torch.no_grad()
    def weighted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Draws from a mixture, (B, T, D), and their log-densities under it, (B, T)."""
        h = self._noises(batch.x)
        chosen = torch.randint(MIXED, batch.mask.shape, device=batch.x.device)
        x = self.emission(h[chosen], batch).sample().masked_fill(~batch.mask[..., None], 0.0)
        return x, self._log_mixture(x, h).masked_fill(~batch.mask, 0.0)

    @torch.no_grad()
    def log_bound(self, x: Tensor, batch: Batch) -> Tensor:
        """Log-density of rows under a new mixture, (..., B, T), without gradients."""
        return self._log_mixture(x, self._noises(x)).masked_fill(~batch.mask, 0.0)

    def _noises(self, like: Tensor) -> Tensor:
        """Draws of the noise, (M, N), of the type of some rows."""
        size = self.program.input_dim
        return torch.randn(MIXED, size, dtype=like.dtype, device=like.device)

    def _log_mixture(self, x: Tensor, h: Tensor) -> Tensor:
        """Log-density, (...), of rows (..., D) under the mixture of outputs at noise h (M, N)."""
        dim = x.shape[-1]
        outputs = self.emission(h[:, None], Batch.of(x.new_zeros(len(h), 1, dim)))
        rows = x.reshape(-1, 1, 1, dim).split(max(1, NUMBERS_AT_ONCE // (len(h) * dim)))
        nats = torch.cat([outputs.log_prob(each).logsumexp(1) for each in rows])
        return nats.reshape(x.shape[:-1]) - math.log(len(h))

    def emission(self, h: Tensor, batch: Batch) -> NormalVector | BernoulliVector:
        """The distribution of rows given noise (..., B, T, N)."""
        found = self.program.computed(h, batch)
        if self.program.bits:
            return BernoulliVector(found)
        scale = self.program.scale
        scale = self.output_std * torch.where(scale > 0, scale, torch.ones_like(scale))
        return NormalVector(found, scale.expand_as(found))


def observing(x: Tensor, batch: Batch) -> Batch:
    """Observations (..., B, T, D), none of them missing, as a batch of sequences one by one."""
    around = batch if x.dim() == 3 else batch.repeated(math.prod(x.shape[:-3]))
    return replace(around, x=x.reshape(-1, *x.shape[-2:]), seen=None)


def _total(nats: dict[str, Tensor]) -> Tensor:
    """The sum over sites of a single draw, (B, T)."""
    return torch.stack([each[0] for each in nats.values()]).sum(0)
