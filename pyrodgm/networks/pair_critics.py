"""Critics of pairs of frames and latents."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import Site, in_order, sizes
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import relu_network
from pyrodgm.networks.pictures import Network, PictureEncoder, conv_channels


class PairCritic(nn.Module):
    r"""A number V(x, z) for every pair of a frame and its latents, where both are drawn.

    .. math:: V(x, z) = g(h(x), z, u)

    with rectified layers g, conditions u, and h either the identity or convolutions of a picture.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: units of every hidden layer; a number is a single layer.
        network: "dense"; or, for frames that are pictures, "conv", or the channels of the
            convolutions.

    Raises:
        DataError: frames are not pictures for "conv".
    """

    def __init__(
        self,
        info: DataInfo,
        latents: Mapping[str, Site],
        hidden_dim: LayerSizes,
        *,
        network: Network = "dense",
    ) -> None:
        super().__init__()
        self.sites = tuple(latents)
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        channels = conv_channels(network)
        self.pictures = PictureEncoder(info, channels) if channels else None
        features = self.inputs.dim if self.pictures is None else self.pictures.dim
        dim = features + sum(sizes(latents).values()) + self.conditions.dim
        self.network = relu_network(dim, hidden_dim, 1)

    def seen(self, x: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
        """What it sees of pairs beside their conditions, (..., D' + J), D' as `Inputs.dim`."""
        return join(self.inputs(x), *in_order(latents, self.sites))

    def of_seen(self, seen: Tensor, batch: Batch) -> Tensor:
        """The number of each pair, (..., B, T, D' + J) to (..., B, T)."""
        x, z = seen.split([self.inputs.dim, seen.shape[-1] - self.inputs.dim], -1)
        given = self.conditions(batch)
        features = x if self.pictures is None else self.pictures(x)
        return self.network(join(features, z, *([] if given is None else [given]))).squeeze(-1)

    def forward(self, x: Tensor, latents: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The number of each pair of x (K, B, T, D) and latents (K, B, T, J), (K, B, T)."""
        return self.of_seen(self.seen(x, latents), batch)
