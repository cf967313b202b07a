from dataclasses import replace

import numpy as np
import pytest

from pyrodgm.data.base import Sequences
from pyrodgm.errors import DataError
from pyrodgm.evaluate.prediction.imputation_scores import imputation_scores
from pyrodgm.evaluate.prediction.impute import Imputation

TRUE = np.array([[0.0], [1.0], [4.0], [3.0], [10.0], [20.0]], np.float32)
GAPS = TRUE.copy()
GAPS[[1, 2, 5]] = np.nan
LENGTHS = np.array([4, 2])


def parts():
    found = Imputation(
        x=np.where(np.isnan(GAPS), 2.0, GAPS),
        seen=~np.isnan(GAPS),
        levels=np.array([0.9, 0.1]),
        quantiles=np.stack([np.full((6, 1), 5.0), np.full((6, 1), 0.5)]),
        lengths=LENGTHS,
    )
    return found, Sequences(GAPS, LENGTHS, fill=np.array([7.0])), Sequences(TRUE, LENGTHS)


def test_errors_by_hand():
    scores = imputation_scores(*parts())
    assert scores.values == 3
    assert scores.squared_error == {
        "this model": pytest.approx((1 + 4 + 18**2) / 3),
        "straight line": pytest.approx((0 + 4 + 100) / 3),  # 1, 2, and 10 after the last
        "last value seen": pytest.approx((1 + 16 + 100) / 3),
        "training mean": pytest.approx((36 + 9 + 169) / 3),
    }
    assert scores.levels == (0.1, 0.9)
    assert scores.within == pytest.approx(2 / 3)
    assert scores.to_dict()["levels"] == [0.1, 0.9]


def test_a_truth_with_gaps_of_its_own_scores_the_rest():
    found, gaps, _ = parts()
    less = TRUE.copy()
    less[5] = np.nan
    assert imputation_scores(found, gaps, Sequences(less, LENGTHS)).values == 2


def test_what_is_no_truth_is_refused():
    found, gaps, _ = parts()
    with pytest.raises(DataError, match="has the same missing values"):
        imputation_scores(found, gaps, gaps)
    with pytest.raises(DataError, match="give the same sequences without missing values"):
        imputation_scores(found, gaps, Sequences(TRUE, np.array([3, 3])))


def test_without_quantiles_there_is_no_share_between_them():
    found, gaps, truth = parts()
    scores = imputation_scores(
        replace(found, quantiles=found.quantiles[:0], levels=found.levels[:0]), gaps, truth
    )
    assert (scores.levels, scores.within) == ((), None)
    assert scores.squared_error == imputation_scores(*parts()).squared_error
