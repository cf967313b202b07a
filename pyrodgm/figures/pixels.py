"""Frames as pictures, with channels last."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.base import DataInfo


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
