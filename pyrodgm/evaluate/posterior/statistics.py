"""Test statistics of sequences: of numbers, and of symbols."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.symbols import SymbolTuples

MOST_SYMBOLS = 64  # whose pairs are counted


def activity(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over frames and features, (B,).

    Args:
        x: (B, T, D), zero where a feature is not there.
        there: which features count, (B, T, D).
    """
    return _ratio(x.sum((1, 2)), there.sum((1, 2)))


def spread(x: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Of the sums of frames; where features are missing, D times the mean of the rest."""
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
    """Share of the features that have the symbol of the frame before, (B,)."""
    both = there[:, 1:] & there[:, :-1]
    return _ratio(((x[:, 1:] == before[:, :-1]) & both).sum((1, 2)), both.sum((1, 2)))


def num_pairs(symbols: SymbolTuples) -> int:
    """How many symbols there are whose pairs are counted; zero where there are more than 64."""
    size = sum(map(len, symbols))
    return size if size <= MOST_SYMBOLS else 0


def symbol_pairs(before: np.ndarray, x: np.ndarray, symbols: SymbolTuples) -> np.ndarray:
    """How often every symbol follows every other of the same feature, (S, S).

    Args:
        before: which symbols the frames have that the others go on from, (B, T, S) zeros and ones.
        x: which symbols those others have; frame t goes on from frame t - 1.
        symbols: of every feature.
    """
    if not (size := num_pairs(symbols)):
        return np.zeros((0, 0))
    owner = np.repeat(np.arange(len(symbols)), [len(own) for own in symbols])
    pairs = before[:, :-1].reshape(-1, size).T @ x[:, 1:].reshape(-1, size)
    return pairs * (owner[:, None] == owner)


def _ratio(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """A mean; NaN over nothing."""
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def p_value(data: np.ndarray, replicated: np.ndarray) -> np.ndarray:
    """The share of replicates with more than the data, and half of those with as much."""
    return (replicated > data).mean(0) + 0.5 * (replicated == data).mean(0)


def share_off(p: np.ndarray) -> float:
    """The share of p-values outside [0.025, 0.975]."""
    return float((np.abs(p - 0.5) > 0.475).mean())
