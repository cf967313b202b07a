"""Errors of predicted frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Kind, Sequences
from pyrodgm.display import json_number
from pyrodgm.distributions import Symbols
from pyrodgm.errors import DataError
from pyrodgm.evaluate.passes import portions

TINY = 1e-20  # smallest divisor: a predicted total of zero is not scaled


@dataclass(frozen=True)
class Prediction:
    """Squared errors of predictions of every frame from those before it.

    Args:
        method: name of the predictor.
        samples: number of draws averaged in a prediction; 1 if nothing is drawn.
        errors: squared error summed over observed features, averaged over the frames of a sequence
            from the second on in which something was observed, (N,); NaN if there are none. For
            categorical features the error is that of the probabilities of symbols (Brier score).
        standardised: squared error divided by the feature's training variance, averaged over
            features and frames, (N,); independent of units. For real numbers only, else None.
        nats: estimate of the log-likelihood of every sequence, (N,); None if a predictor has none.
        frames: number of frames of all sequences.
        right: share of categorical features whose most probable symbol was right, (N,); else None.
    """

    method: str
    samples: int
    errors: np.ndarray
    standardised: np.ndarray | None
    nats: np.ndarray | None
    frames: int
    right: np.ndarray | None = None

    @property
    def squared_error(self) -> float:
        """Mean over sequences."""
        return float(np.nanmean(self.errors))

    @property
    def standardised_error(self) -> float | None:
        """Mean over sequences of `standardised`; about one for the training mean."""
        return None if self.standardised is None else float(np.nanmean(self.standardised))

    @property
    def accuracy(self) -> float | None:
        """Mean over sequences of `right`."""
        return None if self.right is None else float(np.nanmean(self.right))

    @property
    def sd(self) -> float:
        """Standard deviation over sequences; NaN for a single sequence."""
        kept = self.errors[~np.isnan(self.errors)]
        return float(kept.std(ddof=1)) if len(kept) > 1 else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over sequences; NaN for a single sequence."""
        return self.sd / math.sqrt(max(1, (~np.isnan(self.errors)).sum()))

    @property
    def nats_per_frame(self) -> float | None:
        """Log-likelihood estimate over all frames, divided by their number."""
        return None if self.nats is None else float(self.nats.sum() / self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {
            "samples": self.samples,
            "squared_error": self.squared_error,
            "standard_error": self.standard_error,
            "sd": self.sd,
            "standardised_error": self.standardised_error,
            "nats_per_frame": self.nats_per_frame,
        }
        if self.right is not None:
            values["accuracy"] = self.accuracy
        return {name: json_number(value) for name, value in values.items()}


class Errors(NamedTuple):
    """Mean squared errors per frame of every sequence, see `Prediction`.

    Args:
        summed: over features, (N,).
        standardised: divided by the training variance and averaged over features, (N,), or None.
        right: share of categorical features whose most probable symbol was right, (N,), or None.
    """

    summed: np.ndarray
    standardised: np.ndarray | None
    right: np.ndarray | None


def sequence_errors(
    sequences: Sequences,
    predictor: Callable[[Batch], Tensor],
    kind: Kind,
    particles: int,
    std: Sequence[float] = (),
    known: Symbols | None = None,
) -> Errors:
    """Errors of the predictions of frames from the second on.

    Args:
        sequences: N sequences.
        predictor: maps a batch to predictions of its frames, (B, T, D).
        kind: of the values.
        particles: of the predictor per sequence; they determine the memory.
        std: standard deviations of real features, (D,); features with zero are ignored.
        known: the symbols of categorical features; predictions are then their probabilities,
            (B, T, S).

    Raises:
        DataError: no sequence has a second frame.
    """
    if sequences.lengths.max() < 2:
        raise DataError("no sequence has a second frame: there is nothing to predict")
    precision = torch.tensor(std, dtype=torch.float64).square()
    precision = torch.where(precision > 0, 1 / precision, 0.0)
    summed, standardised, right = np.empty((3, len(sequences)))
    for rows in portions(sequences, particles):
        batch = sequences.batch(rows)
        x, means, there = batch.x, predictor(batch), batch.observed
        if known is not None:
            hits = (known.likeliest(means) == x) & there
            right[rows] = _ratio(hits[:, 1:].double().sum((1, 2)), there[:, 1:].sum((1, 2)))
            x, there = known.one_hot(x), there[..., known.owner]
        x, means = x * there, means * there
        if kind == "count":
            means = means * (x.sum(-1, keepdim=True) / means.sum(-1, keepdim=True).clamp(min=TINY))
        squared = (x - means).square()[:, 1:].double()
        summed[rows] = _ratio(squared.sum((1, 2)), there.any(-1)[:, 1:].sum(-1))
        if std:
            counted = (there[:, 1:] * (precision > 0)).sum((1, 2))
            standardised[rows] = _ratio((squared * precision).sum((1, 2)), counted)
    return Errors(summed, standardised if std else None, None if known is None else right)


def _ratio(total: Tensor, number: Tensor) -> np.ndarray:
    return (total / number.where(number > 0, math.nan)).numpy()
