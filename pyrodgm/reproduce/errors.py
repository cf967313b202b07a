"""Prediction errors as tables show them."""

from __future__ import annotations

from collections.abc import Mapping

from pyrodgm.data.base import Splits
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.one_step import Method, baseline_predictions, methods_of, predict
from pyrodgm.evaluate.trivial.predictors import baselines
from pyrodgm.reproduce.table import Measured, Numbers
from pyrodgm.runs.run import Run

METHODS: dict[Method, str] = {
    "published": "error",
    "published-order1": "error_bug",
    "filtered": "error_mean",
}


def errors(run: Run, *, samples: int) -> Numbers:
    """Errors on the test split by every method that the model has.

    Args:
        run: a fitted run.
        samples: of the filtered prediction.
    """
    numbers = {
        METHODS[method]: _measured(
            predict(
                run.model,
                run.guide,
                run.splits["test"],
                kind=run.splits.info.kind,
                method=method,
                samples=samples,
            )
        )
        for method in methods_of(run.model)
    }
    if not run.model.latents:  # a single draw and the mean of many are the same
        numbers["error"] = numbers["error_mean"]
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
