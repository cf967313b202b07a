"""The base of emissions, maps from parameters to a distribution over x_t."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo, Kind

LEAST_RATE = 1e-3  # smallest initial probability, or rate relative to the mean, of a feature


class Emission(nn.Module):  # not an ABC, whose metaclass conflicts with PyroModule's
    """A map from `size` real numbers per frame to a distribution over its D features.

    Args:
        info: the data's facts.

    Attributes:
        kinds: kinds of data it can score.
        scores_missing: whether it can score frames with missing features.
        scores_totals: whether it scores the total of a frame of counts.
        by_feature: whether its parameters are one or more blocks of D, a number for each feature.
        size: number of parameters per frame.
    """

    kinds: ClassVar[tuple[Kind, ...]]
    scores_missing: ClassVar[bool] = True
    scores_totals: ClassVar[bool] = False
    by_feature: ClassVar[bool] = True
    size: int

    @abstractmethod
    def start(self, info: DataInfo) -> Tensor:
        """Parameters (size,) with the training data's means, as initial biases."""

    @abstractmethod
    def forward(self, numbers: Tensor) -> TorchDistribution:
        """The distribution of frames, event (D,), given parameters (..., size)."""
