"""Comparison of fits on the same data by paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pyrodgm.data.evaluation import Data
from pyrodgm.data.local import content_sha256
from pyrodgm.display import json_number
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.bound import Bound, standard_error
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.evaluate.likelihood.weights import has_bound
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, Model


class Fitted(Protocol):
    """A fitted pair and its data; a `Run` is one."""

    @property
    def model(self) -> Model: ...
    @property
    def guide(self) -> Guide: ...
    @property
    def splits(self) -> Data: ...


@dataclass(frozen=True)
class Comparison:
    """One fit among others.

    Args:
        name: its name.
        bound: its own bound.
        difference: mean over sequences of its difference to the best fit, in nats.
        standard_error: of that mean; zero for the best itself, NaN for a single sequence.
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
            "standard_error_of_difference": json_number(self.standard_error),
        }


@dataclass(frozen=True)
class Scored:
    """Bounds of one fit on every sequence, and facts that identify the sequences.

    Args:
        nats: a bound on the log-likelihood of every sequence, (N,).
        lengths: frames of each, (N,).
        estimator: of the bounds.
        kind: as which values are read.
        sha256: digest of the sequences.
        totals: for counts, whether the total of each frame is scored too.
    """

    nats: np.ndarray
    lengths: np.ndarray
    estimator: str
    kind: str
    sha256: str
    totals: bool = False

    def bound(self, particles: int = 1) -> Bound:
        """The bound on the split."""
        return Bound.of(self.nats, self.lengths, self.estimator, particles)


def has_scores(model: Model, guide: Guide) -> bool:
    """Whether every sequence has a bound, or the log-likelihood by the exact log Z of a field."""
    return has_bound(model, guide) or (isinstance(model, EnergyModel) and model.enumerable)


def score(
    model: Model, guide: Guide, data: Data, split: str, *, particles: int = 1, seed: int = 0
) -> Scored:
    """The bounds of a fit on every sequence of a split, K draws each."""
    sequences = data[split]
    nats, estimator = sequence_bounds(model, guide, sequences, particles=particles, seed=seed)
    digest = content_sha256(sequences)
    totals = scores_totals(model)
    return Scored(nats, sequences.lengths, estimator, data.info.kind, digest, totals)


def compare(
    fits: Mapping[str, Fitted], *, split: str = "test", particles: int = 1, seed: int = 0
) -> list[Comparison]:
    """Fits from best to worst.

    Args:
        fits: by name, all on the same data.
        split: name of the split.
        particles: draws per sequence, K.
        seed: of the draws.

    Raises:
        UsageError: the fits are on different data.
    """
    given = {"particles": particles, "seed": seed}
    scores = {
        name: score(fit.model, fit.guide, fit.splits, split, **given) for name, fit in fits.items()
    }
    return ranked(scores, particles)


def ranked(scores: Mapping[str, Scored], particles: int = 1) -> list[Comparison]:
    """Fits from best to worst, by their bounds on the same sequences.

    Args:
        scores: by name.
        particles: draws per sequence, K, of each bound.

    Raises:
        UsageError: the fits are on different data.
    """
    first_name, first = next(iter(scores.items()))
    for name, each in scores.items():
        if each.kind != first.kind:
            raise UsageError(
                f"{name} reads the values as {each.kind} and {first_name} as {first.kind}: "
                "their likelihoods cannot be compared"
            )
        if each.sha256 != first.sha256:
            raise UsageError(
                f"{name} and {first_name} were fitted on different data; "
                "only runs on the same data can be compared"
            )
        if each.totals != first.totals:
            raise UsageError(
                f"only one of {name} and {first_name} scores the total number of counts per frame: "
                "their likelihoods cannot be compared"
            )
    best = max(scores, key=lambda name: scores[name].nats.sum())
    rows = []
    for name, each in scores.items():
        below = scores[best].nats - each.nats
        error = 0.0 if name == best else standard_error(below)
        rows.append(Comparison(name, each.bound(particles), float(below.mean()), error))
    return sorted(rows, key=lambda row: row.difference)
