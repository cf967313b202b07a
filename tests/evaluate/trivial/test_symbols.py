"""Trivial predictors of symbols against counts by hand and sums over what is missing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate.trivial.likelihoods import trivial_predictors

NAN = np.nan
TRAIN = np.array([[1, 0], [2, 0], [2, 3], [1, 3], [6, 0], [1, 0]], np.float32)
LENGTHS = np.array([4, 2])
TEST = np.array([[6, 3], [NAN, 0], [5, NAN], [NAN, NAN], [1, 3], [2, 0]], np.float32)
TEST_LENGTHS = np.array([5, 1])
OWN = ((1, 2, 5, 6), (0, 3))


def splits() -> Splits:
    parts = {
        "train": Sequences(TRAIN, LENGTHS),
        "valid": Sequences(TRAIN, LENGTHS),
        "test": Sequences(TEST, TEST_LENGTHS),
    }
    return Splits.of("signs", "categorical", parts)


def share(feature: int, symbol: float) -> float:
    column = TRAIN[:, feature].tolist()
    return (column.count(symbol) + 0.5) / (6 + 0.5 * len(OWN[feature]))


def move(feature: int, before: float, after: float) -> float:
    pairs = [(TRAIN[t, feature], TRAIN[t + 1, feature]) for t in (0, 1, 2, 4)]
    times = sum(pair[0] == before for pair in pairs)
    return (pairs.count((before, after)) + 0.5) / (times + 0.5 * len(OWN[feature]))


def chain(feature: int, values: list[float]) -> float:
    """The probability of what was seen of a feature, by a sum over what was not."""
    choices = [OWN[feature] if math.isnan(x) else (x,) for x in values]
    return sum(
        share(feature, path[0])
        * math.prod(move(feature, *pair) for pair in itertools.pairwise(path))
        for path in itertools.product(*choices)
    )


def test_scores_are_those_of_counts_by_hand() -> None:
    data = splits()
    found = {name: score(data.test) for name, score in trivial_predictors(data).items()}
    assert list(found) == ["independent", "markov"]
    seen = [(d, x) for frame in TEST for d, x in enumerate(frame) if not math.isnan(x)]
    assert float(found["independent"].sum()) == pytest.approx(
        sum(math.log(share(d, x)) for d, x in seen)
    )
    exact = [
        sum(math.log(chain(d, rows[:, d].tolist())) for d in range(2))
        for rows in np.split(TEST, [5])
    ]
    assert found["markov"].tolist() == pytest.approx(exact)
