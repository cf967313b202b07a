"""Frames as pictures, with channels last."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import Normalize

from pyrodgm.data.base import DataInfo

MISSING = (0.35, 0.55, 0.85)  # colour of pixels that were not observed


def pixels(x: np.ndarray, info: DataInfo) -> np.ndarray:
    """Pictures of frames, (..., H, W) if grey and (..., H, W, 3) in colour.

    Args:
        x: frames, (..., D), channel by channel and row by row.
        info: facts of the data.

    >>> info = DataInfo("toy", "unit", 6, (0.5,) * 6, 1.0, 1, image_shape=(3, 1, 2))
    >>> pixels(np.arange(6), info).tolist()
    [[[0, 2, 4], [1, 3, 5]]]
    """
    channels, height, width = info.picture_shape
    pictures = x.reshape(*x.shape[:-1], channels, height, width)
    return pictures[..., 0, :, :] if channels == 1 else np.moveaxis(pictures, -3, -1)


def scale_of(x: np.ndarray, info: DataInfo) -> Normalize:
    """The range from black to white: 0 to 1, or that of the observed values of real numbers.

    Args:
        x: all frames that are shown, (..., D); NaN where a value is missing.
        info: facts of the data.
    """
    if info.kind in ("binary", "unit", "categorical"):
        return Normalize(0, 1)
    scale = Normalize()
    scale.autoscale_None(np.ma.masked_invalid(x))
    return scale


def shades(x: np.ndarray, info: DataInfo, scale: Normalize) -> np.ndarray:
    """Pictures with values from 0 to 1: (..., H, W) if all are grey, else (..., H, W, 3).

    Pixels with a missing value have the colour `MISSING`.

    Args:
        x: frames, (..., D); NaN where a value is missing.
        info: facts of the data.
        scale: the range from black to white.

    >>> info = DataInfo("toy", "unit", 2, (0.5,) * 2, 1.0, 1, image_shape=(1, 2))
    >>> shades(np.array([1.0, np.nan]), info, Normalize(0, 1)).tolist()
    [[[1.0, 1.0, 1.0], [0.35, 0.55, 0.85]]]
    """
    values = np.asarray(scale(np.nan_to_num(x))).clip(0, 1)
    shown, unknown = pixels(values, info), pixels(np.isnan(x), info)
    if shown.ndim == x.ndim + 1:  # grey
        if not unknown.any():
            return shown
        shown, unknown = np.repeat(shown[..., None], 3, -1), unknown[..., None]
    return np.where(unknown.any(-1, keepdims=True), MISSING, shown)
