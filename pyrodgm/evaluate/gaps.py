"""How well were gaps filled, where it is known what was in them?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import DataError
from pyrodgm.evaluate.baselines import carried
from pyrodgm.evaluate.completing import bridged
from pyrodgm.evaluate.impute import Imputation


@dataclass(frozen=True)
class GapScores:
    """Errors of what was filled in.

    Args:
        values: how many missing values are known.
        squared_error: mean over those values, by predictor: "this model", "straight line" between
            the values seen before and after, "last value seen" and "training mean".
        levels: the lowest and the highest quantile of the imputation.
        within: share of the values that lie between these two.
    """

    values: int
    squared_error: dict[str, float]
    levels: tuple[float, float]
    within: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "values": self.values,
            "squared_error": self.squared_error,
            "levels": list(self.levels),
            "within": self.within,
        }


def gap_scores(found: Imputation, sequences: Sequences, truth: Sequences) -> GapScores:
    """Compare an imputation with the truth, beside trivial predictors that see the same values.

    Args:
        found: what was filled in.
        sequences: with the gaps.
        truth: the same without them, or with fewer.

    Raises:
        DataError: the truth has other lengths, features or values, or nothing in the gaps.
    """
    same = np.array_equal(sequences.lengths, truth.lengths) and sequences.x.shape == truth.x.shape
    if not same:
        raise DataError(
            f"the truth has {len(truth)} sequences and frames of shape {tuple(truth.x.shape)}, "
            f"what was filled has {len(sequences)} and {tuple(sequences.x.shape)}; give the same "
            "sequences without gaps"
        )
    x = truth.x.numpy().astype(np.float64)
    if (found.seen & (np.abs(x - sequences.x.numpy()) > 0)).any():
        raise DataError(
            "the truth has other values where there is no gap; give the same sequences, in the "
            "same order and cut into the same splits, without gaps"
        )
    gap = ~found.seen & ~np.isnan(x)
    if not gap.any():
        raise DataError("the truth says nothing of what was missing: it has the same gaps")
    trivial = {"straight line": bridged, "last value seen": carried, "training mean": _filled}
    predicted = {name: _over(sequences, predictor) for name, predictor in trivial.items()}
    errors = {
        name: float(np.square(x - values)[gap].mean())
        for name, values in {"this model": found.x, **predicted}.items()
    }
    order = np.argsort(found.levels)
    low, high = found.quantiles[order[0]], found.quantiles[order[-1]]
    within = (low <= x) & (x <= high)
    levels = float(found.levels[order[0]]), float(found.levels[order[-1]])
    return GapScores(int(gap.sum()), errors, levels, float(within[gap].mean()))


def _filled(batch: Batch) -> Tensor:
    """Gaps as batches hold them."""
    return batch.x


def _over(sequences: Sequences, predictor: Callable[[Batch], Tensor]) -> np.ndarray:
    """What a predictor has for every frame, end to end, (sum of lengths, D)."""
    rows = (predictor(sequences.batch([row]))[0].numpy() for row in range(len(sequences)))
    return np.concatenate(list(rows))
