"""What networks see of observations, and what is known of a feature beforehand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import Symbols


class Inputs(nn.Module):
    r"""Observations as networks want to see them.

    Counts are on a log scale, real numbers standardised. A categorical feature is one number for
    each of its symbols, one for that which it has and zero for the others; all are zero where it is
    missing.

    Of several lags of real numbers all but the newest enter as changes,

    .. math:: x_{t-1}, \; s \odot (x_{t-1} - x_{t-2}), \; \dots, \;
        s \odot (x_{t-n+1} - x_{t-n})

    with s such that changes have variance one. The linear functions of them are those of the lags
    themselves, but lags of smooth motion are all but equal, and gradients then find what tells them
    apart very slowly.

    Args:
        info: the data's facts.

    Attributes:
        dim: how many numbers a frame becomes.
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
        """Of frames, (..., D) to (..., `dim`)."""
        if self.kind == "categorical":
            return self.symbols.one_hot(x)
        if self.kind == "count":
            return x.log1p()
        return (x - self.centre) / self.scale if self.kind == "real" else x

    def past(self, window: Tensor, t: Tensor) -> Tensor:
        """Of the n frames before frame t side by side, (..., n `dim`); zero before the first frame.

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
    """Standard deviations of the training data, (D,); one where a feature is constant."""
    std = torch.tensor(info.std or (1.0,) * info.dim, dtype=torch.get_default_dtype())
    return std.where(std > 0, 1.0)


def varying(info: DataInfo) -> Tensor | None:
    """Which features were not constant in training, (D,); None where none was."""
    varies = torch.tensor(info.std or (1.0,) * info.dim) > 0
    return None if bool(varies.all()) else varies


def _per_step(info: DataInfo) -> Tensor:
    """How many of its usual changes the standard deviation of a feature is, (D,)."""
    changes = torch.tensor(info.step_std or (0.0,) * info.dim, dtype=torch.get_default_dtype())
    return torch.where(changes > 0, spread(info) / changes, 1.0)


def means(info: DataInfo) -> Tensor:
    """Means of the training data as batches hold it, (D,)."""
    centre = np.array(info.centre or (0.0,) * info.dim)
    return torch.tensor(np.array(info.mean) - centre, dtype=torch.get_default_dtype())
