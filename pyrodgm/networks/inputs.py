"""Observations as inputs of networks, and moments of features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import Symbols


class Inputs(nn.Module):
    r"""Transform of observations for networks.

    Counts are on a log scale, real numbers standardised. Categorical features are one-hot, with all
    zeros if missing.

    With several lags of real numbers, all but the newest are replaced by scaled differences,

    .. math:: x_{t-1}, \; s \odot (x_{t-1} - x_{t-2}), \; \dots, \;
        s \odot (x_{t-n+1} - x_{t-n})

    with s such that differences have variance one. They have the same linear functions as the lags
    themselves. But lags of smooth motion are almost equal, and gradient descent would learn from
    their differences very slowly.

    Args:
        info: the data's facts.

    Attributes:
        dim: size of a transformed frame.
    """

    centre: Tensor
    scale: Tensor
    per_step: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.kind = info.kind
        self.register_buffer("centre", means(info))
        self.register_buffer("scale", spread(info))
        self.features, self.dim = info.dim, info.dim
        if self.kind == "real":
            self.register_buffer("per_step", _per_step(info))
        if self.kind == "categorical":
            self.symbols = Symbols(info.symbols)
            self.dim = self.symbols.size

    def forward(self, x: Tensor) -> Tensor:
        """Transformed frames, (..., D) to (..., `dim`)."""
        if self.kind == "categorical":
            return self.symbols.one_hot(x)
        if self.kind == "count":
            return x.log1p()
        return (x - self.centre) / self.scale if self.kind == "real" else x

    def before(self, batch: Batch) -> Tensor:
        """The transformed frame before the first one, (B, 1, `dim`); zeros (1, 1, `dim`) at the
        start of sequences.
        """
        if not batch.before.frames:
            return batch.x.new_zeros(1, 1, self.dim)
        return self(batch.before.windows["x"][:, :1])

    def past(self, window: Tensor, t: Tensor) -> Tensor:
        """The n transformed frames before frame t, (..., n `dim`); zero before the first frame.

        Args:
            window: those frames, newest first, (..., n D).
            t: frame number from zero, a scalar or (T,).
        """
        if self.kind not in ("real", "categorical"):
            return self(window)
        lags = 1 + torch.arange(window.shape[-1] // self.features, device=t.device)
        exists = (t[..., None] >= lags)[..., None]
        frames = self(window.unflatten(-1, (len(lags), self.features)))
        if len(lags) > 1 and self.kind == "real":
            newest, changes = frames[..., :1, :], frames[..., :-1, :] - frames[..., 1:, :]
            frames = torch.cat([newest, changes * self.per_step], -2)
        return (frames * exists).flatten(-2)


def spread(info: DataInfo) -> Tensor:
    """Standard deviations of the training data, (D,); one for constant features."""
    std = torch.tensor(info.std or (1.0,) * info.dim, dtype=torch.get_default_dtype())
    return std.where(std > 0, 1.0)


def varying(info: DataInfo) -> Tensor | None:
    """Mask of the features that vary in training, (D,); None if all do."""
    varies = torch.tensor(info.std or (1.0,) * info.dim) > 0
    return None if bool(varies.all()) else varies


def _per_step(info: DataInfo) -> Tensor:
    """Ratio of the standard deviation of a feature to that of its changes, (D,)."""
    changes = torch.tensor(info.step_std or (0.0,) * info.dim, dtype=torch.get_default_dtype())
    return torch.where(changes > 0, spread(info) / changes, 1.0)


def means(info: DataInfo) -> Tensor:
    """Means of the training data in the scale of batches, (D,)."""
    centre = np.array(info.centre or (0.0,) * info.dim)
    return torch.tensor(np.array(info.mean) - centre, dtype=torch.get_default_dtype())
