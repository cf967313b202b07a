"""Where is a feature, and how far does it spread? Measured on what was observed of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

NUMBERS_AT_ONCE = 2**22  # bounds the memory of copies in double precision, not the result


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature, each (D,), in double precision.

    Args:
        x: (frames, D); NaN where a feature is missing.

    Returns:
        NaN where nothing was observed of a feature.

    >>> moments(np.array([[1.0, 0.0], [np.nan, 4.0]]))
    (array([1., 2.]), array([0., 2.]))
    """
    count, total = np.zeros((2, x.shape[1]))
    for part, seen in _parts(x):
        count += seen.sum(0)
        total += np.where(seen, part, 0).sum(0)
    known = count > 0
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=known)
    squares = np.zeros_like(total)
    for part, seen in _parts(x):
        squares += np.square(np.where(seen, part - mean, 0)).sum(0)
    variance = np.divide(squares, count, out=np.full_like(total, np.nan), where=known)
    return mean, np.sqrt(variance)


def _parts(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames in double precision, some at a time, and which of their features were observed."""
    frames = max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(x), frames):
        part = x[start : start + frames].astype(np.float64)
        yield part, ~np.isnan(part)
