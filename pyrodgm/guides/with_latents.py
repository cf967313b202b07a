"""Guides over observations that are models with latent variables: a VAE, and a generator.

Their density is not known; they are weighted together with their latent variables.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.draws import draw, score, simulate
from pyrodgm.engine.implicit import standard_normal
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.from_models import ModelGuide, observing
from pyrodgm.guides.observations import ObservationGuide
from pyrodgm.guides.rows import DiagonalNormal
from pyrodgm.models.generator import FeedForwardGenerator
from pyrodgm.models.vae import VAE

MIXED = 1000  # draws of a generator's noise in a mixture of its outputs
NUMBERS_AT_ONCE = 2**22  # draws x rows x features of a mixture: bounds memory


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


def _total(nats: dict[str, Tensor]) -> Tensor:
    """The sum over sites of a single draw, (B, T)."""
    return torch.stack([each[0] for each in nats.values()]).sum(0)
