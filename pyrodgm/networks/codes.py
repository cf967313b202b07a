"""Codes of rows, on which Markov kernels and networks act."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import Symbols
from pyrodgm.networks.inputs import means, spread


@final
class Codes(nn.Module):
    """Bits as they are, symbols as one-hot codings, and real numbers standardised.

    Args:
        info: the data's facts.

    Attributes:
        size: S, numbers of a code.
        classes: number of classes of every feature, for symbols; None for other values.
        log_volume: log of the volume of observations per volume of codes, in nats.

    >>> info = DataInfo("dice", "categorical", 1, (0.0,), 1.0, 1, symbols=((2, 5),))
    >>> codes = Codes(info)
    >>> codes(torch.tensor([5.0])), codes.decoded(torch.tensor([1.0, 0.0]))
    (tensor([0., 1.]), tensor([2.]))
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.kind = info.kind
        self.symbols = Symbols(info.symbols) if info.kind == "categorical" else None
        self.classes = None if self.symbols is None else tuple(map(len, info.symbols))
        self.size = info.dim if self.symbols is None else self.symbols.size
        self.log_volume = 0.0
        if info.kind == "real":
            self.register_buffer("centre", means(info), persistent=False)
            self.register_buffer("scale", spread(info), persistent=False)
            self.log_volume = math.fsum(torch.log(self.scale.double()).tolist())

    def forward(self, x: Tensor) -> Tensor:
        """Codes of observations, (..., D) to (..., S)."""
        if self.symbols is not None:
            return self.symbols.one_hot(x)
        return (x - self.centre) / self.scale if self.kind == "real" else x

    def decoded(self, codes: Tensor) -> Tensor:
        """Observations of codes, (..., S) to (..., D)."""
        if self.symbols is not None:
            return self.symbols.likeliest(codes)
        return self.centre + self.scale * codes if self.kind == "real" else codes
