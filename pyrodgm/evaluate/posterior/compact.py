"""Arrays of draws in the smallest types that hold them, with blanks in padding."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.distributions import BernoulliVector

BLANK = -1  # for whole numbers, whose values are never negative
WHOLE = (torch.int8, torch.int16, torch.int32)

Groups = dict[str, dict[str, np.ndarray]]


class Arrays:
    """Arrays over all draws and sequences, by group and name, filled part by part.

    Args:
        draws: S.
        sequences: the N sequences.
        flat: whether frames are stored end to end, (S, sum of lengths), or padded, (S, N, T).
    """

    def __init__(self, draws: int, sequences: Sequences, *, flat: bool = False) -> None:
        self.groups: Groups = {}
        self.shape = (1, draws, len(sequences))
        self.sequences = sequences
        longest = (len(sequences), int(sequences.lengths.max()))
        self.frames = (sequences.num_frames,) if flat else longest
        self.flat = flat

    def put(self, place: tuple[str, str], value: Tensor, part: slice, rows: np.ndarray) -> None:
        """Store values (K, B), (K, B, T) or (K, B, T, D) of some draws of some sequences."""
        group, name = place
        arrays = self.groups.setdefault(group, {})
        values = value.cpu().numpy()
        if name not in arrays:
            by_frame = (*self.shape[:2], *self.frames, *values.shape[3:])
            shape = by_frame if values.ndim > 2 else self.shape
            arrays[name] = np.full(shape, _blank(values.dtype), values.dtype)
        arrays[name], values = _alike(arrays[name], values)
        if self.flat and values.ndim > 2:
            time = np.arange(values.shape[2])
            there = time < self.sequences.lengths[rows, None]
            places = self.sequences.starts[rows, None] + time
            arrays[name][0, part, places[there]] = values[:, there].swapaxes(0, 1)
        else:
            inside = tuple(slice(size) for size in values.shape[2:])
            arrays[name][0][(part, rows, *inside)] = values


def compact_type(distribution: TorchDistribution, value: Tensor) -> torch.dtype:
    """The smallest integer that holds all values of a discrete distribution, else a float.

    Args:
        distribution: of the values.
        value: the values.
    """
    support = getattr(distribution.support, "base_constraint", distribution.support)
    if not (isinstance(distribution, BernoulliVector) or getattr(support, "is_discrete", False)):
        return torch.float32
    value = value.double()
    # A negative integer would mean blank.
    if not bool(((value >= 0) & (value == value.trunc())).all()):
        return torch.float64
    fitting = (dtype for dtype in WHOLE if value.max() <= torch.iinfo(dtype).max)
    return next(fitting, torch.float64)


def blanked(value: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Values in a compact type, blank where a frame is padding."""
    mask = mask.view(mask.shape + (1,) * (value.dim() - 3))
    return value.to(dtype).masked_fill(~mask, math.nan if dtype.is_floating_point else BLANK)


def is_blank(values: xr.DataArray) -> bool:
    """Where frames of a compact variable are padding."""
    return values.dtype.kind == "i" and bool((values == BLANK).any())


def _alike(kept: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in a common type that holds all values; blanks stay blank."""
    dtype = np.promote_types(kept.dtype, values.dtype)
    return _as_type(kept, dtype), _as_type(values, dtype)


def _as_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if values.dtype == dtype:
        return values
    wider = values.astype(dtype)
    if values.dtype.kind == "i":
        wider[values == BLANK] = _blank(dtype)
    return wider


def _blank(dtype: np.dtype) -> float:
    return BLANK if dtype.kind == "i" else math.nan
