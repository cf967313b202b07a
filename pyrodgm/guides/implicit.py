"""Guides without a density: latents are a function of the observations and of noise."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar, final

import pyro
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import Implicit, NormalVector
from pyrodgm.engine.implicit import NOISE, NoiseProgram
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide, GuideTraits, Target
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.mlp import relu_network
from pyrodgm.networks.pictures import Network, PictureEncoder, conv_channels

Moments = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


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

    def moments(self, batch: Batch, particles: int) -> Moments | None:
        """Mean and standard deviation of every site given each row, (B, T, J).

        None, as here, where they can only be estimated from draws for each row.

        Args:
            batch: B rows.
            particles: draws for each row.
        """
        del batch, particles
        return None

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

    .. math::
        \text{bases = 0: } & z = g(x, u, \epsilon), \qquad \epsilon \sim \mathcal N(0, I) \\
        \text{bases = M: } & z = z_0(x, u) + \sum_{i=1}^M a_i(x, u) \odot v_i(\epsilon_i)

    where u are conditions, if any, and :math:`a_i` is positive. With bases, mean and variance of z
    given a row are sums over those of :math:`v_i`, which are the same for all rows; adaptive
    contrast of `AVB` then costs little.

    Args:
        model: the model p, whose latent sites are continuous.
        noise_dim: noise variables of a row, or of every basis, N.
        bases: M, functions of noise that are summed; 0 for a network of row and noise.
        basis_dim: rectified units of every hidden layer of every basis, a number for a single
            layer; `hidden_dim` if not given.
        hidden_dim: rectified units of every hidden layer of the network of the row; a number is a
            single layer.
        network: "dense"; or, for rows that are pictures, "conv" or the channels of convolutions,
            which come before the hidden layers.

    Raises:
        UsageError: `basis_dim` without bases.
        DataError: rows are not pictures for "conv".

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, figure 1; bases
    are those of its published code and later version.
    """

    def __init__(
        self,
        model: Target,
        *,
        noise_dim: Annotated[int, Field(ge=1)] = 32,
        bases: Annotated[int, Field(ge=0)] = 0,
        basis_dim: LayerSizes | None = None,
        hidden_dim: LayerSizes = (128, 128),
        network: Network = "dense",
    ) -> None:
        if basis_dim is not None and not bases:
            raise UsageError("basis_dim is for the networks of bases; give bases too")
        super().__init__(model, noise_dim=noise_dim * max(1, bases))
        self.inputs, self.conditions = Inputs(model.info), Conditions(model.info)
        convolved = conv_channels(network)
        self.pictures = PictureEncoder(model.info, convolved) if convolved else None
        seen = self.inputs if self.pictures is None else self.pictures
        features, total = seen.dim + self.conditions.dim, sum(sizes(self.latents).values())
        units = hidden_dim if basis_dim is None else basis_dim
        self.bases = NoiseBases(noise_dim, bases, units, total) if bases else None
        inputs = features if bases else features + noise_dim
        self.network = relu_network(inputs, hidden_dim, total * (1 + bases))

    def generate(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The latents of every site from noise."""
        if self.bases is None:
            return self._by_site(self.network(join(noise, self._features(batch))))
        start, scale = self.bases.split(self.network(self._features(batch)))
        return self._by_site(start + (scale * self.bases(noise)).sum(-2))

    def moments(self, batch: Batch, particles: int) -> Moments | None:
        """Mean and standard deviation of every site given each row, if there are bases.

        Args:
            batch: B rows.
            particles: draws of the bases, which all rows share, and at least one for each row.
        """
        if self.bases is None:
            return None
        found = self.bases.moments(self.network(self._features(batch)), max(particles, batch.size))
        mean, scale = map(self._by_site, found)
        return mean, scale

    def _features(self, batch: Batch) -> Tensor:
        """What the network reads of rows and conditions, (B, T, E)."""
        seen, given = self.inputs(batch.x), self.conditions(batch)
        seen = seen if self.pictures is None else self.pictures(seen)
        return join(seen, *([] if given is None else [given]))

    def _by_site(self, latents: Tensor) -> dict[str, Tensor]:
        parts = latents.split(list(sizes(self.latents).values()), -1)
        return dict(zip(self.latents, parts, strict=True))


class NoiseBases(nn.Module):
    r"""Functions of noise :math:`v_i(\epsilon_i)`, and how rows combine them.

    Args:
        noise_dim: noise variables of every basis, N.
        bases: M.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.
        dim: latents J.
    """

    def __init__(self, noise_dim: int, bases: int, hidden_dim: LayerSizes, dim: int) -> None:
        super().__init__()
        self.shape, self.dim = (bases, noise_dim), dim
        widths = (noise_dim, *layer_sizes(hidden_dim), dim)
        self.weights = nn.ParameterList(
            (2 * torch.rand(bases, above, below) - 1) / math.sqrt(below)
            for below, above in pairwise(widths)
        )
        self.biases = nn.ParameterList(
            (2 * torch.rand(bases, above) - 1) / math.sqrt(below)
            for below, above in pairwise(widths)
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Every basis, (..., M, J), of noise (..., M N)."""
        value = noise.unflatten(-1, self.shape).movedim(-2, 0)
        leading, value = value.shape[1:-1], value.flatten(1, -2)
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            value = torch.baddbmm(bias[:, None], value.relu() if number else value, weight.mT)
        return value.unflatten(1, leading).movedim(0, -2)

    def split(self, made: Tensor) -> tuple[Tensor, Tensor]:
        """The start z_0, (..., J), and positive coefficients a, (..., M, J), of a network."""
        start, scale = made[..., : self.dim], made[..., self.dim :]
        return start, F.elu(scale.unflatten(-1, (self.shape[0], self.dim))) + 1

    def moments(self, made: Tensor, draws: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the latents, (..., J), by draws that all rows share."""
        start, scale = self.split(made)
        bases = self(torch.randn(draws, math.prod(self.shape)).to(start))
        mean = start + (scale * bases.mean(0)).sum(-2)
        return mean, (scale.square() * bases.var(0)).sum(-2).sqrt()
