"""What an emission is: a map from numbers that a model computes to a distribution over x_t."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo, Kind

RATE_FLOOR = 1e-3  # features that training never shows still have some probability


class Emission(nn.Module):  # no ABC, whose metaclass PyroModule cannot be mixed with
    """A map from `size` real numbers a frame to a distribution over its D features.

    Args:
        info: the data's facts.

    Attributes:
        kinds: kinds of data it can score.
        scores_missing: whether it can score a frame by those of its features that were observed.
        scores_totals: whether it scores how many tokens a frame of counts has, and not only which.
        size: how many numbers it takes.
    """

    kinds: ClassVar[tuple[Kind, ...]]
    scores_missing: ClassVar[bool] = True
    scores_totals: ClassVar[bool] = False
    size: int

    @abstractmethod
    def start(self, info: DataInfo) -> Tensor:
        """Numbers (size,) that give the training data's means, for biases to start from."""

    @abstractmethod
    def forward(self, numbers: Tensor) -> TorchDistribution:
        """The distribution of frames, event (D,), given numbers (..., size)."""
