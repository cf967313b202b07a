"""Which of several fits is better on the same data, by paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.bounds import Bound, sequence_bounds, standard_error
from pyrodgm.evaluate.count_predictors import scores_totals
from pyrodgm.guides import Guide
from pyrodgm.models import Model


class Fitted(Protocol):
    """A fitted pair and its data; a `Run` is one."""

    @property
    def model(self) -> Model: ...
    @property
    def guide(self) -> Guide: ...
    @property
    def splits(self) -> Splits: ...


@dataclass(frozen=True)
class Comparison:
    """One fit among others.

    Args:
        name: its name.
        bound: its own bound.
        difference: mean over sequences of how far it is below the best, in nats.
        standard_error: of that mean; zero for the best itself, NaN where there is one sequence.
    """

    name: str
    bound: Bound
    difference: float
    standard_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": self.name,
            **self.bound.to_dict(),
            "nats_per_example_below_best": self.difference,
            "standard_error_of_difference": _plain(self.standard_error),
        }


def compare(
    fits: Mapping[str, Fitted], *, split: str = "test", particles: int = 1, seed: int = 0
) -> list[Comparison]:
    """Fits from best to worst.

    Args:
        fits: by name, all on the same data.
        split: where they are compared.
        particles: draws per sequence, K.
        seed: of the draws.

    Raises:
        UsageError: the fits are on different data.
    """
    lengths = {name: fit.splits[split].lengths for name, fit in fits.items()}
    first_name, first = next(iter(fits.items()))
    for name, fit in fits.items():
        if not _same(fit.splits[split], first.splits[split]):
            raise UsageError(
                f"{name} and {first_name} were fitted on different data; "
                "only runs on the same data can be compared"
            )
        if fit.splits.info.kind != first.splits.info.kind:
            raise UsageError(
                f"{name} takes the values for {fit.splits.info.kind} and {first_name} for "
                f"{first.splits.info.kind}: their likelihoods have no common measure"
            )
        if scores_totals(fit.model) != scores_totals(first.model):
            raise UsageError(
                f"of {name} and {first_name} one scores how many counts there are and the other is "
                "given it: their likelihoods have no common measure"
            )
    values = {
        name: sequence_bounds(
            fit.model, fit.guide, fit.splits[split], particles=particles, seed=seed
        )
        for name, fit in fits.items()
    }
    best = max(values, key=lambda name: values[name][0].sum())
    rows = []
    for name, (nats, estimator) in values.items():
        below = values[best][0] - nats
        error = 0.0 if name == best else standard_error(below)
        bound = Bound.of(nats, lengths[name], estimator, particles)
        rows.append(Comparison(name, bound, float(below.mean()), error))
    return sorted(rows, key=lambda row: row.difference)


def _same(one: Sequences, other: Sequences) -> bool:
    """Whether two splits hold the same sequences, with the same gaps."""
    alike = np.array_equal(one.lengths, other.lengths) and one.x.shape == other.x.shape
    return alike and bool(((one.x == other.x) | (one.x.isnan() & other.x.isnan())).all())


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
