"""Which of several fits is better on the same data, by paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyrodgm.data.base import Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.bounds import Bound, sequence_bounds
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
        standard_error: of that mean; zero for the best itself.
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
            "standard_error_of_difference": self.standard_error,
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
    first_name, first = next(iter(lengths.items()))
    for name, other in lengths.items():
        same_x = fits[name].splits[split].x.equal(fits[first_name].splits[split].x)
        if not (np.array_equal(other, first) and same_x):
            raise UsageError(
                f"{name} and {first_name} were fitted on different data; "
                "only runs on the same data can be compared"
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
        count = len(below)
        error = float(below.std(ddof=1) / math.sqrt(count)) if count > 1 else 0.0
        bound = Bound.of(nats, lengths[name], estimator, particles)
        rows.append(Comparison(name, bound, float(below.mean()), error))
    return sorted(rows, key=lambda row: row.difference)
