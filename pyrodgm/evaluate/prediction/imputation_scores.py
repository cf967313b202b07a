"""Errors of imputed values whose true values are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.moments import precision_of
from pyrodgm.distributions import Symbols
from pyrodgm.errors import DataError
from pyrodgm.evaluate.prediction.completing_filter import bridged
from pyrodgm.evaluate.prediction.impute import Imputation
from pyrodgm.evaluate.trivial.predictors import carried


@dataclass(frozen=True)
class ImputationScores:
    """Errors of imputed values.

    Args:
        values: number of missing values whose truth is known.
        squared_error: mean over those values, by predictor: "this model", "straight line" between
            the observed values before and after, "last value seen" and "training mean". For
            categorical features, the error of the probabilities of symbols, by "this model",
            "last value seen" and "training frequencies".
        levels: the lowest and the highest quantile of the imputation; empty for categorical data.
        within: share of the true values between these quantiles; None without quantiles.
        accuracy: share of symbols that were imputed correctly, by the same predictors.
    """

    values: int
    squared_error: dict[str, float]
    levels: tuple[float, ...]
    within: float | None
    accuracy: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {
            "values": self.values,
            "squared_error": self.squared_error,
            "levels": list(self.levels),
            "within": self.within,
        }
        return values if self.accuracy is None else {**values, "accuracy": self.accuracy}


def imputation_scores(
    found: Imputation, sequences: Sequences, truth: Sequences, info: DataInfo | None = None
) -> ImputationScores:
    """Compare an imputation with the truth, beside trivial predictors with the same input.

    Args:
        found: the imputation.
        sequences: with missing values.
        truth: the same sequences without missing values, or with fewer.
        info: facts of the data of the fit, for categorical data.

    Raises:
        DataError: the truth has other lengths, features or values, or the same missing values.
    """
    same = np.array_equal(sequences.lengths, truth.lengths) and sequences.x.shape == truth.x.shape
    if sequences.x.shape == truth.x.shape and not same:
        raise DataError(
            "the truth has the frames of the data in sequences of other lengths; give the same "
            "sequences without missing values"
        )
    if not same:
        raise DataError(
            f"the truth has {len(truth)} sequences and frames of shape {tuple(truth.x.shape)}, but "
            f"the data has {len(sequences)} and {tuple(sequences.x.shape)}; give the same "
            "sequences without missing values"
        )
    x = truth.x.numpy().astype(np.float64)
    if (found.seen & _differ(sequences.x, truth.x)).any():
        raise DataError(
            "the truth differs from the data in values that are not missing; give the same "
            "sequences, in the same order and the same splits, without missing values"
        )
    missing = ~found.seen & ~np.isnan(x)
    if not missing.any():
        raise DataError("the truth has the same missing values, so there is nothing to compare")
    if found.probabilities is not None and info is not None:
        return _symbol_scores(found, sequences, x, missing, info)
    trivial = {"straight line": bridged, "last value seen": carried, "training mean": _filled}
    predicted = {name: _over(sequences, predictor) for name, predictor in trivial.items()}
    errors = {
        name: float(np.square(x - values)[missing].mean())
        for name, values in {"this model": found.x, **predicted}.items()
    }
    if not len(found.levels):
        return ImputationScores(int(missing.sum()), errors, (), None)
    order = np.argsort(found.levels)
    low, high = found.quantiles[order[0]], found.quantiles[order[-1]]
    within = (low <= x) & (x <= high)
    levels = float(found.levels[order[0]]), float(found.levels[order[-1]])
    return ImputationScores(int(missing.sum()), errors, levels, float(within[missing].mean()))


def _symbol_scores(
    found: Imputation, sequences: Sequences, x: np.ndarray, missing: np.ndarray, info: DataInfo
) -> ImputationScores:
    """Errors of imputed symbols and of their probabilities."""
    known = Symbols(info.symbols)
    came = known.one_hot(torch.from_numpy(x)).double()
    last = known.one_hot(torch.from_numpy(_over(sequences, carried))).double()
    probabilities = {
        "this model": torch.from_numpy(found.probabilities).double(),
        "last value seen": last,
        "training frequencies": torch.tensor(info.frequencies).double().expand_as(came),
    }
    errors, accuracy = {}, {}
    for name, p in probabilities.items():
        each = (p - came).square() * torch.from_numpy(missing)[:, known.owner]
        errors[name] = float(each.sum() / missing.sum())
        accuracy[name] = float((known.likeliest(p).numpy() == x)[missing].mean())
    return ImputationScores(int(missing.sum()), errors, (), None, accuracy)


def _filled(batch: Batch) -> Tensor:
    """Frames with the fill of batches in place of missing values."""
    return batch.x


def _over(sequences: Sequences, predictor: Callable[[Batch], Tensor]) -> np.ndarray:
    """Predictions of every frame, end to end, (sum of lengths, D)."""
    rows = [predictor(sequences.batch([row]))[0] for row in range(len(sequences))]
    return sequences.uncentred(torch.cat(rows)).numpy()


def _differ(x: Tensor, truth: Tensor) -> np.ndarray:
    """Where values differ by more than the rounding of their types, in the shape of x."""
    eps = max(precision_of(part.numpy()) for part in (x, truth))
    x, truth = x.double(), truth.double()
    return ((x - truth).abs() > eps * truth.abs()).numpy()
