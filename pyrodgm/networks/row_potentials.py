"""Potentials of rows: a number for every frame, from dense or convolutional networks."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pyrodgm.data.base import DataInfo
from pyrodgm.networks.codes import Codes
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.mlp import leaky
from pyrodgm.networks.pictures import Network, PictureEncoder, conv_channels


@final
class RowPotential(nn.Module):
    r"""A number f for every frame from leaky rectified layers, above convolutions if wanted.

    .. math:: f(x) = a^\top h^L, \qquad h^l = \mathrm{lrelu}(W^l h^{l-1} + c^l)

    with :math:`h^0` the codes of the frame: standardised, or one-hot for symbols. There is no bias
    on top: log Z would change by the same constant.

    Args:
        info: the data's facts.
        network: "dense"; or, for frames that are pictures, "conv" or the channels of convolutions,
            which come before the dense layers.
        hidden_dim: units of every dense layer; a number is a single layer.
        leak: slope of the units below zero.
        smooth: whether units are smooth; see `leaky`.
        normalised: whether weights are parametrised by their direction and length.

    Raises:
        DataError: frames are not pictures for "conv".

    Reference: weight normalisation: Salimans and Kingma, Weight normalization: a simple
    reparameterization to accelerate training of deep neural networks, 2016.
    """

    def __init__(
        self,
        info: DataInfo,
        network: Network,
        hidden_dim: LayerSizes,
        *,
        leak: float,
        smooth: bool,
        normalised: bool,
    ) -> None:
        super().__init__()
        channels = conv_channels(network)
        self.pictures = (
            PictureEncoder(info, channels, leak=leak, smooth=smooth) if channels else None
        )
        size = Codes(info).size if self.pictures is None else self.pictures.dim
        self.layers = nn.Sequential()
        for units in layer_sizes(hidden_dim):
            self.layers.extend((nn.Linear(size, units), leaky(leak, smooth=smooth)))
            size = units
        self.layers.append(nn.Linear(size, 1, bias=False))
        if normalised:
            self.apply(_normalise)

    def forward(self, codes: Tensor) -> Tensor:
        """The number of every frame, (...), from its codes (..., S); see `Codes`."""
        seen = codes if self.pictures is None else self.pictures(codes)
        rows = seen.reshape(-1, seen.shape[-1])  # once, and not in every layer
        return self.layers(rows).view(codes.shape[:-1])


def _normalise(layer: nn.Module) -> None:
    """Parametrise the weights of a layer by direction and length."""
    if isinstance(layer, nn.Linear | nn.Conv2d):
        weight_norm(layer)
