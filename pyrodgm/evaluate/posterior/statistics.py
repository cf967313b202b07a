"""Test statistics of sequences: of numbers, and of symbols."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.symbols import SymbolTuples

MOST_SYMBOLS = 64  # limit for counting pairs of symbols


def activity(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over frames and features, (B,).

    Args:
        x: (B, T, D), zero where a feature is missing or padding.
        there: True where a feature was observed, (B, T, D).
    """
    return _ratio(x.sum((1, 2)), there.sum((1, 2)))


def spread(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Standard deviation over time of a frame's sum, (B,).

    With missing features, the sum is D times the mean of the observed ones.
    """
    numbers = there.sum(-1)
    some = numbers > 0
    sums = np.divide(x.sum(-1), numbers, out=np.zeros(numbers.shape), where=some) * x.shape[-1]
    frames = some.sum(1)
    mean = _ratio(sums.sum(1), frames)
    return np.sqrt(_ratio((np.square(sums - mean[:, None]) * some).sum(1), frames))


def persistence(before: np.ndarray, x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """One minus the mean absolute change from one frame to the next, (B,)."""
    both = there[:, 1:] & there[:, :-1]
    change = np.abs(x[:, 1:] - before[:, :-1]) * both
    return 1 - _ratio(change.sum((1, 2)), both.sum((1, 2)))


def symbols_kept(before: np.ndarray, x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Share of the features with the same symbol as in the frame before, (B,)."""
    both = there[:, 1:] & there[:, :-1]
    return _ratio(((x[:, 1:] == before[:, :-1]) & both).sum((1, 2)), both.sum((1, 2)))


def num_pairs(symbols: SymbolTuples) -> int:
    """Number of symbols in the table of pairs; zero if there are more than 64."""
    size = sum(map(len, symbols))
    return size if size <= MOST_SYMBOLS else 0


def symbol_pairs(before: np.ndarray, x: np.ndarray, symbols: SymbolTuples) -> np.ndarray:
    """Counts of successive symbols of the same feature, (S, S).

    Args:
        before: one-hot symbols of the preceding frames, (B, T, S); frame t - 1 precedes frame t.
        x: one-hot symbols of the frames, (B, T, S).
        symbols: of every feature.
    """
    if not (size := num_pairs(symbols)):
        return np.zeros((0, 0))
    owner = np.repeat(np.arange(len(symbols)), [len(own) for own in symbols])
    pairs = before[:, :-1].reshape(-1, size).T @ x[:, 1:].reshape(-1, size)
    return pairs * (owner[:, None] == owner)


def _ratio(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """A mean; NaN if there are no values."""
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def p_value(data: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """The share of replicates above the data, plus half of the share equal to it."""
    return (replicated > data).mean(0) + 0.5 * (replicated == data).mean(0)


def share_off(p: np.ndarray) -> float:
    """The share of p-values outside [0.025, 0.975]."""
    return float((np.abs(p - 0.5) > 0.475).mean())
