"""Prediction errors as tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrodgm.data.base import Splits
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.one_step import (
    FILTERED,
    Method,
    baseline_predictions,
    one_step,
    predict,
)
from pyrodgm.evaluate.trivial.predictors import baselines
from pyrodgm.reproduce.slip import has_slip, slipped_step
from pyrodgm.reproduce.table import Numbers
from pyrodgm.runs.run import Run
from pyrodgm.tables import Measured

PUBLISHED = Method("published", one_step)
SLIPPED = Method("published-order1", slipped_step)


def errors(run: Run, *, samples: int) -> Numbers:
    """Squared errors of the next frame on the test split.

    Args:
        run: a fitted run.
        samples: of the mean of many.

    Returns:
        "error_mean" is that of the mean of many weighted samples; "error", as published, that of
        one; "error_bug" the same by the slip of the published code, of models that have it.
    """

    def by(method: Method, samples: int = 1) -> Measured:
        kind, sequences = run.splits.info.kind, run.splits["test"]
        given: dict[str, Any] = {"kind": kind, "samples": samples, "method": method}
        return _measured(predict(run.model, run.guide, sequences, **given))

    mean = by(FILTERED, samples)
    if not run.model.latents:  # one sample and the mean of many are the same
        return {"error_mean": mean, "error": mean}
    numbers = {"error_mean": mean, "error": by(PUBLISHED)}
    if has_slip(run.model):
        numbers["error_bug"] = by(SLIPPED)
    return numbers


def simple_errors(splits: Splits, order: int = 1) -> Mapping[str, Numbers]:
    """Errors of trivial predictors, by name.

    Args:
        splits: the data.
        order: of the linear autoregression.
    """
    found = baseline_predictions(baselines(splits, order), splits.test, splits.info)
    return {name: {"error": _measured(prediction)} for name, prediction in found.items()}


def _measured(prediction: Prediction) -> Measured:
    return Measured(prediction.squared_error, prediction.standard_error)
