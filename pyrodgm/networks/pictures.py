"""Convolutional networks of frames that are pictures, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError, UsageError
from pyrodgm.networks.layers import LayerSizes, layer_sizes

NetworkName = Literal["dense", "conv"]
CHANNELS = (32, 64)
KERNEL, STRIDE, PADDING = 3, 2, 1  # of every convolution: it halves a size, rounded up


@final
class PictureEncoder(nn.Module):
    r"""Features of a picture by convolutions, each of which halves height and width.

    .. math:: h^l = \mathrm{relu}(C^l * h^{l-1} + c^l), \qquad
        H_l = \lceil H_{l-1} / 2 \rceil, \quad W_l = \lceil W_{l-1} / 2 \rceil

    with :math:`h^0` the picture, kernels of 3 x 3 and stride 2. The features are those of the last
    layer side by side.

    Args:
        info: the data's facts, whose frames are pictures.
        channels: of every layer, the first next to the picture.

    Attributes:
        dim: number of features, that is, of the last layer's channels, height and width together.

    Raises:
        DataError: frames are not pictures.
    """

    def __init__(self, info: DataInfo, channels: LayerSizes = CHANNELS) -> None:
        super().__init__()
        sizes = layer_sizes(channels)
        self.shapes = shapes(info, sizes)
        self.layers = nn.Sequential(
            *(
                part
                for below, above in pairwise((self.shapes[0][0], *sizes))
                for part in (nn.Conv2d(below, above, KERNEL, STRIDE, PADDING), nn.ReLU())
            )
        )
        self.dim = _numbers(self.shapes[-1])

    def forward(self, frames: Tensor) -> Tensor:
        """Features of frames, (..., C H W) to (..., `dim`)."""
        return _by_picture(self.layers, frames, self.shapes[0])


@final
class PictureDecoder(nn.Module):
    r"""Numbers for every pixel from hidden units: the layers of `PictureEncoder` in reverse.

    .. math:: h^{L} = \mathrm{relu}(A v + a), \qquad
        h^{l-1} = \mathrm{relu}(D^l *^\top h^l + d^l), \qquad
        o = D^1 *^\top h^1 + b

    where :math:`*^\top` is the adjoint of a convolution with stride 2. The output has one or more
    blocks of as many numbers as a picture has, and a bias b for every number.

    Args:
        info: the data's facts, whose frames are pictures.
        input_dim: hidden units v.
        size: output numbers, a multiple of C H W.
        channels: of every layer, the first next to the picture.

    Attributes:
        bias: (size,).

    Raises:
        DataError: frames are not pictures.
    """

    def __init__(
        self, info: DataInfo, input_dim: int, size: int, channels: LayerSizes = CHANNELS
    ) -> None:
        super().__init__()
        sizes = layer_sizes(channels)
        self.shapes = shapes(info, sizes)
        outputs = (size // info.dim * self.shapes[0][0], *sizes)
        self.first = nn.Linear(input_dim, _numbers(self.shapes[-1]))
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(
                above,
                below,
                KERNEL,
                STRIDE,
                PADDING,
                output_padding=_left_over(larger),
                bias=place > 0,
            )
            for place, ((below, above), larger) in reversed(
                list(enumerate(zip(pairwise(outputs), self.shapes, strict=False)))
            )
        )
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, hidden: Tensor) -> Tensor:
        """Numbers for every pixel, (..., input_dim) to (..., size)."""
        return _by_picture(self._pixels, self.first(hidden), self.shapes[-1]) + self.bias

    def _pixels(self, maps: Tensor) -> Tensor:
        for layer in self.layers:
            maps = layer(maps.relu())
        return maps
