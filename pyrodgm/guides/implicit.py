"""Guides without a density: latents are a function of the observations and of noise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, final

import pyro
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import Implicit, NormalVector
from pyrodgm.engine.implicit import NOISE, NoiseProgram
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.weights import Weights
from pyrodgm.guides.base import Guide, GuideTraits, Target
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import relu_network


class ImplicitGuide(NoiseProgram, Guide):
    r"""A guide given by a map from noise and observations to latents.

    .. math:: z = g(\epsilon, x), \qquad \epsilon_t \sim \mathcal N(0, I)

    Draws carry gradients to its parameters. The density q(z | x) is not known, so that an objective
    needs a critic in its place.

    Args:
        model: the model p, whose latent sites are continuous.
        noise_dim: noise variables of a frame, N.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, has_density=False, causal=True
    )

    def __init__(self, model: Target, *, noise_dim: int) -> None:
        super().__init__(model)
        self.noise_dim = noise_dim

    @abstractmethod
    def generate(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The latents of every site, (..., B, T, J), from noise (..., B, T, N).

        Args:
            noise: standard normal.
            batch: gives observations, conditions and mask.
        """

    def values(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The latents of every site from noise."""
        return self.generate(noise, batch)

    def forward(self, batch: Batch) -> None:
        """Sample the auxiliary site ``noise`` and every latent site, which follows from it.

        Batch shape (B,) and event shape (T, J), as of fused models; a plate of particles goes to
        dimension -2. Latent sites are of the distribution `Implicit`, which has no density.
        """
        with Weights(self, register=True).stated(), pyro.plate("batch", batch.size, dim=-1):
            zeros = batch.x.new_zeros(batch.length, self.noise_dim)
            standard = NormalVector(zeros, zeros + 1).to_event(1)
            noise = pyro.sample(NOISE, standard, infer={"is_auxiliary": True})
            for name, value in self.values(noise, batch).items():
                pyro.sample(name, Implicit(value, event_dim=2))


@final
class FeedForwardImplicit(ImplicitGuide):
    r"""Latents that a feed-forward network makes of a row and of noise.

    .. math:: z = g(x, u, \epsilon), \qquad \epsilon \sim \mathcal N(0, I)

    where u are conditions, if any.

    Args:
        model: the model p, whose latent sites are continuous.
        noise_dim: noise variables of a row, N.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, figure 1.
    """

    def __init__(
        self,
        model: Target,
        *,
        noise_dim: Annotated[int, Field(ge=1)] = 32,
        hidden_dim: LayerSizes = (128, 128),
    ) -> None:
        super().__init__(model, noise_dim=noise_dim)
        self.inputs, self.conditions = Inputs(model.info), Conditions(model.info)
        features = self.inputs.dim + self.conditions.dim + noise_dim
        self.network = relu_network(features, hidden_dim, sum(sizes(self.latents).values()))

    def generate(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The latents of every site from noise."""
        given = self.conditions(batch)
        parts = [self.inputs(batch.x), *([] if given is None else [given])]
        made = self.network(join(noise, *parts)).split(list(sizes(self.latents).values()), -1)
        return dict(zip(self.latents, made, strict=True))
