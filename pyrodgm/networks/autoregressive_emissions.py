"""Emissions of bits that depend on each other within a frame."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from pyrodgm.data.base import DataInfo
from pyrodgm.networks.autoregressive import LinearFamily, NADEFamily
from pyrodgm.networks.emission import LEAST_RATE, Emission
from pyrodgm.networks.inputs import means

INIT_SCALE = 0.01  # of weights between features


class DependentBits(Emission):
    """Bits of a frame, each given those before it; frames must be complete."""

    kinds = ("binary",)
    scores_missing = False


@final
class DARNBits(LinearFamily, DependentBits):
    """Bits with log-odds linear in those before them in the frame; the model computes the biases.

    Args:
        info: the data's facts.
    """

    def __init__(self, info: DataInfo) -> None:
        super().__init__(info.dim, INIT_SCALE)

    def start(self, info: DataInfo) -> Tensor:
        """Log-odds of the means."""
        return _log_odds(info)


@final
class NADEBits(NADEFamily, DependentBits):
    """Bits of a NADE, whose biases the model computes.

    Args:
        info: the data's facts.
        dim: hidden units H.
        order: the features from the first to the last, (D,); that of the data if not given.
    """

    by_feature = False

    def __init__(self, info: DataInfo, dim: int = 100, order: Tensor | None = None) -> None:
        super().__init__(info.dim, dim, INIT_SCALE, order)

    def start(self, info: DataInfo) -> Tensor:
        """Log-odds of the means, and hidden biases of zero."""
        return torch.cat([_log_odds(info), torch.zeros(self.split[1])])


def _log_odds(info: DataInfo) -> Tensor:
    """Of the means of the training data, (D,)."""
    return means(info).clamp(LEAST_RATE, 1 - LEAST_RATE).logit()
