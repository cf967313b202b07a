"""Models without a density: observations are a function of noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import pyro
from pyro import poutine
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.implicit import NOISE, NoiseProgram
from pyrodgm.engine.weights import Weights
from pyrodgm.models.base import Model, ModelTraits


class Generator(NoiseProgram, Model):
    r"""A model given by a map from noise to observations.

    .. math:: x_t = g(\epsilon_t), \qquad \epsilon_t \sim \mathcal N(0, I)

    The map may combine frames, as a recurrent or convolutional network does. Draws carry gradients
    to its parameters. The density of x is not available, so learning needs a critic or a distance.

    Args:
        info: the data's facts; its features are D.
        noise_dim: numbers of noise per frame, N.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=None, density="none")

    def __init__(self, info: DataInfo, *, noise_dim: int) -> None:
        super().__init__(info)
        self.latents = {}
        self.observed = {"x": info.dim}
        self.noise_dim = noise_dim

    @abstractmethod
    def generate(self, noise: Tensor, batch: Batch) -> Tensor:
        """Observations (..., B, T, D) from noise (..., B, T, N).

        Args:
            noise: standard normal.
            batch: with conditions and mask; its own observations must not be used.
        """

    def values(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """Observations from noise, zero where a batch is padded."""
        x = self.generate(noise, batch)
        return {"x": x.masked_fill(~batch.mask[..., None], 0.0)}

    def draw(self, batch: Batch, particles: int = 1) -> Tensor:
        """Observations in the shape of a batch, (K, B, T, D), zero in padding.

        Args:
            batch: B sequences of T frames.
            particles: number of draws K.
        """
        return self.values(self.noise(batch, particles), batch)["x"]

    def forward(self, batch: Batch) -> None:
        """Sample the site ``noise`` of batch shape (B, T), and declare ``x``, a function of it.

        A plate of particles goes to dimension -3.
        """
        with Weights(self, register=True).stated():
            with (
                pyro.plate("sequences", batch.size, dim=-2),
                pyro.plate("frames", batch.length, dim=-1),
                poutine.mask(mask=batch.mask),  # pyright: ignore[reportArgumentType]
            ):
                noise = pyro.sample(NOISE, self.standard(batch))
            pyro.deterministic("x", self.values(noise, batch)["x"], event_dim=1)
