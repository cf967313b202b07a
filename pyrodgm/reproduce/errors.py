"""Prediction errors as tables show them."""

from __future__ import annotations

from collections.abc import Mapping

from pyrodgm.data.base import Splits
from pyrodgm.evaluate.predict import Prediction, baseline_predictions
from pyrodgm.reproduce.table import Measured, Numbers
from pyrodgm.run import Run

METHODS = {"published": "error", "published-order1": "error_bug", "filtered": "error_mean"}


def errors(run: Run, *, samples: int) -> Numbers:
    """Errors on the test split by every method that the model has.

    Args:
        run: a fitted run.
        samples: of the filtered prediction.
    """
    found = run.predict("test", samples=samples)
    numbers = {METHODS[name]: _measured(found[name]) for name in METHODS if name in found}
    if not run.model.latents:  # a single draw and the mean of many are the same
        numbers["error"] = numbers["error_mean"]
    return numbers


def simple_errors(splits: Splits, order: int = 1) -> Mapping[str, Numbers]:
    """Errors of trivial predictors, by name.

    Args:
        splits: the data.
        order: of the linear autoregression.
    """
    found = baseline_predictions(splits, "test", order=order)
    return {name: {"error": _measured(prediction)} for name, prediction in found.items()}


def _measured(prediction: Prediction) -> Measured:
    return Measured(prediction.squared_error, prediction.standard_error)
