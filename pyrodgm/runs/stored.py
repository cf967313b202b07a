"""Results of a fit stored in its folder, for use without its data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.compare import Fitted, Scored, score
from pyrodgm.storage.files import replacing
from pyrodgm.storage.folder import RunFolder

HELD_OUT = ("valid", "test")


@dataclass(frozen=True)
class Kept:
    """Results on one split: of the fit, with one draw per sequence, and of trivial predictors.

    Args:
        scored: the fit.
        trivial_bounds: the trivial predictors, by name.
    """

    scored: Scored
    trivial_bounds: dict[str, Bound]


def keep_results(folder: RunFolder, kept: dict[str, Kept]) -> None:
    """Store the results of the final weights of a fit on its held-out splits."""
    values = {"checkpoint": folder.best().name, "splits": {n: _plain(k) for n, k in kept.items()}}
    with replacing(folder.results) as unfinished:
        unfinished.write_text(json.dumps(values), encoding="utf-8")


def stored_results(folder: RunFolder, info: DataInfo) -> dict[str, Kept]:
    """Stored results by split; empty if there are none, or only those of other weights.

    Args:
        folder: of the run.
        info: facts of the data that it was fitted on.
    """
    try:
        values = json.loads(folder.results.read_text(encoding="utf-8"))
        if values["checkpoint"] != folder.best().name:
            return {}
        known = folder.made_with["data_splits"]
        return {
            name: _kept(each, info.kind, known[name]["sha256"])
            for name, each in values["splits"].items()
        }
    except (OSError, ValueError, KeyError, TypeError):  # an older version, or damaged
        return {}


def score_splits(fit: Fitted, trivial_bounds: Callable[[str], dict[str, Bound]]) -> dict[str, Kept]:
    """Results of a run on its held-out splits, with one draw per sequence.

    Args:
        fit: the run.
        trivial_bounds: the trivial predictors on a split.
    """
    return {
        name: Kept(score(fit.model, fit.guide, fit.splits, name), trivial_bounds(name))
        for name in HELD_OUT
    }


def _plain(kept: Kept) -> dict[str, Any]:
    return {
        "estimator": kept.scored.estimator,
        "totals": kept.scored.totals,
        "lengths": kept.scored.lengths.tolist(),
        "nats": kept.scored.nats.tolist(),
        "floors": {name: bound.to_dict() for name, bound in kept.trivial_bounds.items()},
    }


def _kept(values: dict[str, Any], kind: str, sha256: str) -> Kept:
    nats, lengths = np.array(values["nats"], np.float64), np.array(values["lengths"], np.int64)
    trivial_bounds = {name: _bound(bound) for name, bound in values["floors"].items()}
    scored = Scored(nats, lengths, values["estimator"], kind, sha256, values["totals"])
    return Kept(scored, trivial_bounds)


def _bound(values: dict[str, Any]) -> Bound:
    """The inverse of `Bound.to_dict`."""
    facts: dict[str, Any] = {key: math.nan if x is None else x for key, x in values.items()}
    return Bound(**facts)
