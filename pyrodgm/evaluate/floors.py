"""What a trivial predictor reaches on the same data: no result is shown without it."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate.bounds import Bound

PSEUDO_COUNT = 0.5  # of either outcome: what training never shows may still happen later


def floors(splits: Splits, split: str) -> dict[str, Bound]:
    """Exact log-likelihoods of trivial predictors fitted on the training sequences.

    Args:
        splits: binary or [0,1] data; grey values score by cross-entropy.
        split: where they are scored, "train", "valid" or "test".

    Returns:
        "independent": every feature has its training mean in every frame. "markov": every feature
        is a two-state chain of its own. "entropy": the cross-entropy that no prediction can
        undercut, for grey values only.
    """
    if splits.info.kind == "real":
        return {}
    sequences = splits[split]
    chance = _rate(_values(splits.train), np.ones(1))
    scores = {
        "independent": _score(sequences, np.broadcast_to(chance, sequences.x.shape)),
        "markov": _score(sequences, _markov(splits.train, sequences, chance)),
    }
    if splits.info.kind == "unit":
        scores["entropy"] = _score(sequences, _values(sequences))
    return {
        name: Bound.of(per_sequence, sequences.lengths, "exact")
        for name, per_sequence in scores.items()
    }


def _values(sequences: Sequences) -> np.ndarray:
    return sequences.x.numpy().astype(np.float64)


def _previous(sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Every frame's predecessor, (frames, D), and whether it has none, (frames,)."""
    values = _values(sequences)
    first = np.zeros(len(values), dtype=bool)
    first[sequences.starts] = True
    return np.concatenate([values[:1], values[:-1]]), first


def _markov(train: Sequences, scored: Sequences, chance: np.ndarray) -> np.ndarray:
    """Probability of one in every frame given the frame before, (sum of lengths, D).

    A grey predecessor counts as on with its value and as off with the rest.
    """
    before, first = _previous(train)
    now, before = _values(train)[~first], before[~first]
    on, off = _rate(now, before), _rate(now, 1 - before)
    previous, first = _previous(scored)
    return np.where(first[:, None], chance, previous * on + (1 - previous) * off)


def _rate(now: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Smoothed share of ones in (frames, D), every frame counted with its weight, (D,)."""
    ones = (weight * now).sum(0)
    total = (weight * np.ones_like(now)).sum(0)
    return (ones + PSEUDO_COUNT) / (total + 2 * PSEUDO_COUNT)


def _score(sequences: Sequences, probability: np.ndarray) -> np.ndarray:
    """Log-likelihood of every sequence under independent Bernoulli predictions, (N,), in nats."""
    x = _values(sequences)
    with np.errstate(divide="ignore"):
        on = np.where(x > 0, x * np.log(np.where(x > 0, probability, 1)), 0)
        off = np.where(x < 1, (1 - x) * np.log1p(-np.where(x < 1, probability, 0)), 0)
    return np.add.reduceat((on + off).sum(1), sequences.starts)
