"""Convolutional networks of frames that are pictures, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError, UsageError
from pyrodgm.networks.attention import SelfAttention
from pyrodgm.networks.emission import Emission
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.mlp import leaky

Channels = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
Network = Literal["dense", "conv"] | Channels  # these are convolutions with other channels
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
        leak: slope of the units below zero, if they are leaky.
        smooth: whether units are smooth; see `leaky`.
        attends: whether there is self-attention above the first layer.

    Attributes:
        dim: number of features, that is, of the last layer's channels, height and width together.

    Raises:
        DataError: frames are not pictures.
    """

    def __init__(
        self,
        info: DataInfo,
        channels: LayerSizes = CHANNELS,
        *,
        leak: float = 0.0,
        smooth: bool = False,
        attends: bool = False,
    ) -> None:
        super().__init__()
        sizes = layer_sizes(channels)
        self.shapes = _shapes(info, sizes)
        self.layers = nn.Sequential(
            *(
                part
                for below, above in pairwise((self.shapes[0][0], *sizes))
                for part in (
                    nn.Conv2d(below, above, KERNEL, STRIDE, PADDING),
                    leaky(leak, smooth=smooth),
                )
            )
        )
        self.dim = math.prod(self.shapes[-1])
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                _start(layer, layer.in_channels * KERNEL**2)
        if attends:
            self.layers.insert(2, SelfAttention(sizes[0]))

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
        bias: b, (size,).

    Raises:
        DataError: frames are not pictures.
    """

    def __init__(
        self, info: DataInfo, input_dim: int, size: int, channels: LayerSizes = CHANNELS
    ) -> None:
        super().__init__()
        sizes = layer_sizes(channels)
        self.shapes = _shapes(info, sizes)
        outputs = (size // info.dim * self.shapes[0][0], *sizes)
        self.first = nn.Linear(input_dim, math.prod(self.shapes[-1]))
        below = zip(pairwise(outputs), self.shapes, strict=False)
        self.layers = nn.Sequential()  # in the order of those of the encoder
        for (lower, upper), shape in below:
            self.layers.append(nn.ConvTranspose2d(
                upper, lower, KERNEL, STRIDE, PADDING, _even(shape), bias=len(self.layers) > 0
            ))  # fmt: skip
        self.bias = nn.Parameter(torch.zeros(size))
        _start(self.first, input_dim)
        for layer in self.layers:
            if isinstance(layer, nn.ConvTranspose2d):  # a pixel gets a quarter of the kernel
                _start(layer, layer.in_channels * KERNEL**2 / STRIDE**2)

    def forward(self, hidden: Tensor) -> Tensor:
        """Numbers for every pixel, (..., input_dim) to (..., size)."""
        return _by_picture(self._pixels, self.first(hidden), self.shapes[-1]) + self.bias

    def _pixels(self, maps: Tensor) -> Tensor:
        for layer in reversed(list(self.layers)):
            maps = layer(maps.relu())
        return maps


def _start(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, inputs: float) -> None:
    """Initial weights under which rectified layers keep the size of their inputs.

    With the smaller ones of torch, latents have so little effect on a picture that training stays
    at a saddle point where they are of no use.

    Args:
        layer: the layer.
        inputs: numbers that one of its outputs is a sum of.

    Reference: He et al., Delving deep into rectifiers, 2015, equation 10.
    """
    nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))


def conv_channels(network: Network) -> tuple[int, ...] | None:
    """Channels of the convolutions of a network; None if it has none.

    >>> conv_channels("dense"), conv_channels("conv"), conv_channels((8, 16, 32))
    (None, (32, 64), (8, 16, 32))
    """
    if network == "dense":
        return None
    return CHANNELS if network == "conv" else tuple(network)


def dense_layers(network: Network, hidden_dim: LayerSizes | None) -> LayerSizes:
    """Units of the dense layers of a network, as given, or else as usual.

    Two dense layers beside convolutions delay the use of latents by hundreds of steps.

    >>> dense_layers("dense", None), dense_layers("conv", None), dense_layers("conv", 50)
    ((200, 200), 200, 50)
    """
    if hidden_dim is not None:
        return hidden_dim
    return (200, 200) if network == "dense" else 200


def picture_output(
    network: Network, info: DataInfo, emission: Emission, hidden_dim: LayerSizes
) -> PictureDecoder | None:
    """The output of a decoder, from its last hidden layer to an emission; None if it is linear.

    Args:
        network: of the decoder.
        info: the data's facts.
        emission: distribution of a frame.
        hidden_dim: units of every hidden layer.

    Raises:
        DataError: convolutions, and frames are not pictures.
        UsageError: convolutions, and the emission has parameters that do not belong to a pixel.
    """
    channels = conv_channels(network)
    if channels is None:
        return None
    if not emission.by_feature:
        raise UsageError(
            f"network 'conv' gives numbers for every pixel, but emission {type(emission).__name__} "
            "has others too; take another emission, or network 'dense'"
        )
    return PictureDecoder(info, layer_sizes(hidden_dim)[-1], emission.size, channels)


def _shapes(info: DataInfo, sizes: Sequence[int]) -> list[tuple[int, int, int]]:
    """Channels, height and width of a picture and of every layer of convolutions above it.

    Raises:
        DataError: frames are not pictures.
    """
    if info.image_shape is None or info.kind == "categorical":
        raise DataError(
            f"network 'conv' is for pictures, but frames of '{info.name}' are not pictures: store "
            "an array image_shape in the file, (height, width) or (channels, height, width), or "
            "give it (--set data.image_shape=[28,28]); otherwise take network 'dense'"
        )
    shapes = [info.picture_shape]
    for size in sizes:
        _, height, width = shapes[-1]
        shapes.append((size, -(-height // STRIDE), -(-width // STRIDE)))
    return shapes


def _even(shape: tuple[int, int, int]) -> tuple[int, int]:
    """One where height or width is even: lost by halving, rounded up."""
    _, height, width = shape
    return 1 - height % STRIDE, 1 - width % STRIDE


def _by_picture(
    network: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, int, int]
) -> Tensor:
    """A network of pictures (N, C, H, W) applied to rows, (..., C H W) to (..., numbers)."""
    found = network(x.reshape(-1, *shape))
    return found.reshape(*x.shape[:-1], found.shape[1:].numel())
