"""Models without a density: observations are a function of noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import pyro
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.implicit import NOISE, NoiseProgram, standard_normal
from pyrodgm.engine.sites import Site, sizes
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import UsageError
from pyrodgm.models.base import Model, ModelTraits


class Generator(NoiseProgram, Model):
    r"""A model given by a map from noise to observations.

    .. math:: x_t = g(\epsilon_t), \qquad \epsilon_t \sim \mathcal N(0, I)

    The map may combine frames, as a recurrent or convolutional network does. Draws carry gradients
    to its parameters. The density of x is not available, so learning needs a critic or a distance.

    With latents, the first J numbers of the noise are a latent site ``z`` of its own, which guides
    infer: :math:`x_t = g(z_t, \epsilon_t)`. The density of x given z is not available either.

    Args:
        info: the data's facts; its features are D.
        noise_dim: numbers of noise per frame beside the latents, N.
        latent_dim: latent variables per frame, J; 0 for none.

    Attributes:
        noise_dim: numbers that a frame is a function of, J + N.

    Raises:
        UsageError: neither noise nor latents.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=None, density="none")

    def __init__(self, info: DataInfo, *, noise_dim: int, latent_dim: int = 0) -> None:
        super().__init__(info)
        if noise_dim + latent_dim < 1:
            raise UsageError(
                "a generator without noise and without latents draws one point only; give "
                "noise_dim or latent_dim"
            )
        self.latents = {"z": Site(latent_dim, "continuous")} if latent_dim else {}
        self.observed = {"x": info.dim}
        self.noise_dim = latent_dim + noise_dim

    @abstractmethod
    def generate(self, noise: Tensor, batch: Batch) -> Tensor:
        """Observations (..., B, T, D) from noise (..., B, T, N), or (..., B, T, J + N).

        Args:
            noise: standard normal; the latents are the first of these numbers.
            batch: with conditions and mask; its own observations must not be used.
        """

    def values(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Latents, if any, and observations from noise, zero where a batch is padded."""
        padded = ~batch.mask[..., None]
        x = self.generate(noise, batch)
        z = noise.split([*sizes(self.latents).values(), self.extra_dim], -1)[:-1]
        found = {**dict(zip(self.latents, z, strict=True)), "x": x}
        return {name: value.masked_fill(padded, 0.0) for name, value in found.items()}

    @property
    def extra_dim(self) -> int:
        """Numbers of noise per frame beside the latents, N."""
        return self.noise_dim - sum(sizes(self.latents).values())

    def draw(self, batch: Batch, particles: int = 1) -> Tensor:
        """Observations in the shape of a batch, (K, B, T, D), zero in padding.

        Args:
            batch: B sequences of T frames.
            particles: number of draws K.
        """
        return self.values(self.noise(batch, particles), batch)["x"]

    def forward(self, batch: Batch) -> None:
        """Sample ``z``, if any, and ``noise`` of batch shape (B, T), and declare ``x``.

        A plate of particles goes to dimension -3.
        """
        with Weights(self, register=True).stated():
            with (
                pyro.plate("sequences", batch.size, dim=-2),
                pyro.plate("frames", batch.length, dim=-1),
                poutine.mask(mask=batch.mask),  # pyright: ignore[reportArgumentType]
            ):
                parts = sizes(self.latents) | ({NOISE: self.extra_dim} if self.extra_dim else {})
                drawn = [pyro.sample(n, standard_normal(dim, batch)) for n, dim in parts.items()]
            pyro.deterministic("x", self.values(torch.cat(drawn, -1), batch)["x"], event_dim=1)


class BitGenerator(Generator):
    r"""A generator whose observations may be bits, whose logits are a function of noise.

    .. math::
        x = 1[\ell(\epsilon) + L > 0], \qquad L = \mathrm{logit}\, \Phi(\eta), \quad
            \eta \sim \mathcal N(0, I)

    where the logistic numbers L are a function of D further numbers of the noise, so that bits are
    a function of noise as real numbers are. Draws are bits, and pass on the gradient of
    :math:`\mathrm{sigmoid}((\ell + L) / \tau)` at :math:`\tau = 1` (straight-through
    Gumbel-softmax, which is biased); `relaxed` has these numbers themselves, and `log_prob` what a
    score function needs.

    Args:
        info: the data's facts; with binary data, draws are bits.
        noise_dim: numbers of noise per frame beside the latents, N, without those of the bits.
        latent_dim: latent variables per frame, J; 0 for none.

    Attributes:
        bits: whether observations are bits.
        input_dim: numbers that logits or real numbers are a function of, J + N.

    Reference: Kusner and Hernandez-Lobato, GANs for sequences of discrete elements with the
    Gumbel-softmax distribution, 2016.
    """

    def __init__(self, info: DataInfo, *, noise_dim: int, latent_dim: int = 0) -> None:
        super().__init__(info, noise_dim=noise_dim, latent_dim=latent_dim)
        self.bits = info.kind == "binary"
        self.input_dim = self.noise_dim
        self.noise_dim += info.dim if self.bits else 0

    @abstractmethod
    def computed(self, noise: Tensor, batch: Batch) -> Tensor:
        """Real numbers, or the logits of bits, (..., B, T, D) from noise (..., B, T, J + N)."""

    def generate(self, noise: Tensor, batch: Batch) -> Tensor:
        """Observations (..., B, T, D) from latents and noise."""
        if not self.bits:
            return self.computed(noise, batch)
        return hard(self.relaxed(noise, batch))

    def relaxed(self, noise: Tensor, batch: Batch, temperature: float | Tensor = 1.0) -> Tensor:
        """Numbers between zero and one that round to the bits, (..., B, T, D).

        Args:
            noise: as of `generate`.
            batch: with conditions and mask.
            temperature: of the relaxation; the smaller, the closer to bits.
        """
        own, of_bits = noise.split([self.input_dim, self.noise_dim - self.input_dim], -1)
        logistic = torch.special.log_ndtr(of_bits) - torch.special.log_ndtr(-of_bits)
        return ((self.computed(own, batch) + logistic) / temperature).sigmoid()

    def log_prob(self, x: Tensor, noise: Tensor, batch: Batch) -> Tensor:
        """The log-probability of bits given the noise that their logits are of, (..., B, T)."""
        logits = self.computed(noise[..., : self.input_dim], batch)
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def hard(relaxed: Tensor) -> Tensor:
    """Numbers between zero and one rounded to bits, with the gradient of the numbers."""
    return (relaxed > 0.5).to(relaxed) + (relaxed - relaxed.detach())
