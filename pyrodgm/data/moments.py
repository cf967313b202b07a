"""Where is a feature, and how far does it spread? Measured on what was observed of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

NUMBERS_AT_ONCE = 2**22  # bounds the memory of copies in double precision, not the result
ROUNDING = 2.0**-20  # of a number: the last few bits of single precision, in which frames are held
NOTHING = 1e-9  # of the largest spread: what rounding leaves of a zero, below any choice of units


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


def without_rounding(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standard deviations of features, (D,); zero where only rounding moves them.

    Such a feature is constant. Measured by a spread like 1e-17, the first number that differs from
    the others would otherwise be some 1e17 standard deviations away.

    Args:
        mean: of every feature, (D,), as of `moments`.
        std: their standard deviations, (D,), of the same.

    >>> without_rounding(np.array([0.5, 0.0, 0.0]), np.array([1e-7, 1e-17, 1.0]))
    array([0., 0., 1.])
    """
    least = np.maximum(ROUNDING * np.abs(mean), NOTHING * np.max(std, initial=0, where=std > 0))
    return np.where(std <= least, 0, std)


def _parts(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames in double precision, some at a time, and which of their features were observed."""
    frames = max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(x), frames):
        part = x[start : start + frames].astype(np.float64)
        yield part, ~np.isnan(part)
