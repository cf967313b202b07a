"""Log-likelihoods of frames under given probabilities, summed by sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pyrodgm.data.base import Sequences

NUMBERS_AT_ONCE = 2**22  # bounds memory, not results

Score = Callable[[Sequences], np.ndarray]
Move = Callable[[np.ndarray], np.ndarray]


def carried(part: Sequences, known: np.ndarray, first: np.ndarray, move: Move) -> np.ndarray:
    """Parameters of every frame predicted by a Markov chain, (P, frames, D).

    Args:
        part: the sequences.
        known: parameters of a frame given its observed values, (P, frames, D).
        first: parameters of a first frame, (P, D) or (D,).
        move: maps the parameters of a frame to those of the next.
    """
    seen = ~part.x.isnan().numpy()
    expected = np.empty_like(known)
    expected[:, part.starts] = np.atleast_2d(first)[:, None]
    for t in range(1, int(part.lengths.max())):
        now = part.starts[part.lengths > t] + t
        before = np.where(seen[now - 1], known[:, now - 1], expected[:, now - 1])
        expected[:, now] = move(before)
    return expected


def bernoulli(part: Sequences, p: np.ndarray) -> np.ndarray:
    """Log-likelihood of every sequence under independent bits, (N,), in nats."""
    x = values(part)
    with np.errstate(divide="ignore"):
        on = np.where(x > 0, x * np.log(np.where(x > 0, p, 1)), 0)
        off = np.where(x < 1, (1 - x) * np.log1p(-np.where(x < 1, p, 0)), 0)
    return by_sequence(part, on + off)


def normal(part: Sequences, error: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log-density of every sequence under normal distributions, given the errors, (N,), in nats."""
    return by_sequence(part, -0.5 * (np.square(error) / variance + np.log(2 * np.pi * variance)))


def tokens(part: Sequences, shares: np.ndarray) -> np.ndarray:
    """Log-likelihood of every sequence of counts, given their totals, (N,), in nats."""
    seen = (shares * ~part.x.isnan().numpy()).sum(1, keepdims=True)
    return by_sequence(part, values(part) * np.log(shares / np.where(seen > 0, seen, 1)))


def by_sequence(part: Sequences, nats: np.ndarray) -> np.ndarray:
    """Sums over the observed values of every sequence, (N,)."""
    return np.add.reduceat(np.nansum(nats, 1), part.starts)


def values(part: Sequences) -> np.ndarray:
    return part.x.numpy().astype(np.float64)


def frame_before(part: Sequences) -> np.ndarray:
    """The frame before every frame, (frames, D); NaN for first frames."""
    before = np.roll(values(part), 1, axis=0)
    before[part.starts] = np.nan
    return before


def over(sequences: Sequences, score: Score) -> np.ndarray:
    """A score of every sequence, (N,)."""
    return np.concatenate([score(part) for part in portions(sequences)])


def portions(sequences: Sequences) -> Iterator[Sequences]:
    """Blocks of the sequences, in order."""
    frames = max(1, NUMBERS_AT_ONCE // sequences.x.shape[1])
    turn = np.cumsum(sequences.lengths) // frames
    for rows in np.split(np.arange(len(sequences)), np.flatnonzero(np.diff(turn)) + 1):
        yield sequences.select(rows)
