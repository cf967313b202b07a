"""Means and standard deviations of features, measured on their observed values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

NUMBERS_AT_ONCE = 2**22  # bounds the memory of copies in double precision, not the result
ROUNDING = 2  # standard deviation of a constant at most, in units in the last place, about
SHOWN = 8  # features that a note lists


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature, each (D,), in double precision.

    Args:
        x: (frames, D); NaN where a feature is missing.

    Returns:
        NaN where a feature was never observed.

    >>> moments(np.array([[1.0, 0.0], [np.nan, 4.0]]))
    (array([1., 2.]), array([0., 2.]))
    """
    count, total = np.zeros((2, x.shape[1]))
    origin = _first(x)
    for part, seen in _parts(x):
        count += seen.sum(0)
        total += np.where(seen, part - origin, 0).sum(0)
    known = count > 0
    mean = origin + np.divide(total, count, out=np.full_like(total, np.nan), where=known)
    squares = np.zeros_like(total)
    for part, seen in _parts(x):
        squares += np.square(np.where(seen, part - mean, 0)).sum(0)
    variance = np.divide(squares, count, out=np.full_like(total, np.nan), where=known)
    return mean, np.sqrt(variance)


def without_rounding(mean: np.ndarray, std: np.ndarray, eps: float) -> np.ndarray:
    """Standard deviations of features, (D,); zero where the variation is only rounding.

    Such a feature is constant. Variation is measured in units in the last place of the feature's
    own values, so the result does not depend on its units.

    Args:
        mean: of every feature, (D,), as of `moments`.
        std: their standard deviations, (D,), of the same.
        eps: relative precision of the values, see `precision_of`.

    >>> without_rounding(np.array([0.5, 0.0, 5e6]), np.array([1e-7, 1e-17, 0.4]), 2.0**-23)
    array([0.e+00, 1.e-17, 0.e+00])
    >>> without_rounding(np.array([5e6]), np.array([0.4]), 2.0**-52)
    array([0.4])
    """
    return np.where(std <= ROUNDING * eps * np.abs(mean), 0, std)


def precision_of(x: np.ndarray) -> float:
    """Machine epsilon of the type of x; zero for integers."""
    return float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else 0.0


def rounded(mean: np.ndarray, std: np.ndarray, eps: float) -> tuple[str, ...]:
    """A sentence that lists the features whose variation is only rounding; empty if there are none.

    Args:
        mean: as of `without_rounding`.
        std: the same.
        eps: the same.
    """
    places = np.flatnonzero((std > 0) & (without_rounding(mean, std, eps) == 0)).tolist()
    if not places:
        return ()
    shown = ", ".join(map(str, places[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
    return (
        f"{len(places)} of {len(mean)} features vary by no more than the rounding of their type in "
        f"the file, and are treated as constant: {shown}; if they do vary, store them in double "
        "precision, or subtract their mean",
    )


def _first(x: np.ndarray) -> np.ndarray:
    """The first observed value of every feature, (D,); zero where there is none.

    Sums of differences from it lose less to rounding than sums of the values.
    """
    if not len(x):
        return np.zeros(x.shape[1])
    seen = ~np.isnan(x)
    first = x[seen.argmax(0), np.arange(x.shape[1])].astype(np.float64)
    return np.where(seen.any(0), first, 0)


def _parts(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of frames in double precision, and which of their features were observed."""
    frames = max(1, NUMBERS_AT_ONCE // x.shape[1])
    for start in range(0, len(x), frames):
        part = x[start : start + frames].astype(np.float64)
        yield part, ~np.isnan(part)
