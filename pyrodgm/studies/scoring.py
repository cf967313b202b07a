"""Evaluation of all runs of a study by one estimator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pyrodgm.errors import Mistakes, did_you_mean
from pyrodgm.evaluate.likelihood.bounds import Estimator, check_estimator
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.runs.run import Run
from pyrodgm.storage.files import replacing
from pyrodgm.studies.outcome import Outcome

STORED = "evaluation.json"
SPLITS = ("valid", "test")


@dataclass(frozen=True)
class Scoring:
    """How the runs of a study are evaluated after training.

    Args:
        particles: draws per sequence, K.
        estimator: of the bound, as in `pyrodgm evaluate`.
        splits: "valid", whose bound becomes the score; "test"; or both.
    """

    particles: int = 1
    estimator: Estimator = "auto"
    splits: tuple[str, ...] = SPLITS

    @classmethod
    def read(cls, given: Any, mistakes: Mistakes) -> Scoring | None:
        """The group `[evaluate]` of a file; None if there is none."""
        if given is None:
            return None
        if not isinstance(given, dict):
            mistakes.add(f"evaluate = {given!r}: expected options such as evaluate.particles = 100")
            return None
        known = tuple(cls.__dataclass_fields__)
        for key in given:
            if key not in known:
                mistakes.add(f"[evaluate]: '{key}' is not known here; {did_you_mean(key, known)}")
        found = cls(**{key: value for key, value in given.items() if key in known})
        listed = isinstance(found.splits, list | tuple)
        found = replace(found, splits=tuple(found.splits) if listed else (found.splits,))
        if isinstance(found.particles, bool) or not (
            isinstance(found.particles, int) and found.particles >= 1
        ):
            mistakes.add(f"evaluate.particles = {found.particles!r}: expected a number, at least 1")
        if found.estimator not in get_args(Estimator):
            names = ", ".join(get_args(Estimator))
            mistakes.add(f"evaluate.estimator = {found.estimator!r}: expected one of {names}")
        if not found.splits or any(split not in SPLITS for split in found.splits):
            mistakes.add(f"evaluate.splits = {[*found.splits]}: expected some of {[*SPLITS]}")
        return found

    def check(self, model: Model, guide: Guide) -> None:
        """Raise where the estimator does not apply to a model and guide.

        Raises:
            UsageError: it does not.
        """
        check_estimator(model, guide, particles=self.particles, estimator=self.estimator)

    def evaluate(self, run: Run) -> dict[str, Any]:
        """The bounds of a run, by split, with the name of the estimator."""
        given: dict[str, Any] = {"particles": self.particles, "estimator": self.estimator}
        bounds = {split: run.evaluate(split, **given) for split in self.splits}
        return {
            "by": _words(bounds[self.splits[0]].estimator, self.particles),
            "nats_per_frame": {split: bound.nats_per_frame for split, bound in bounds.items()},
        }

    def store(self, place: Path, run: Run) -> None:
        """Evaluate a run and store the bounds beside it, unless they are there."""
        if self.stored(place) is not None:
            return
        values = {"scoring": self._key(), **self.evaluate(run)}
        with replacing(place / STORED) as unfinished:
            unfinished.write_text(json.dumps(values, indent=2), encoding="utf-8")

    def stored(self, place: Path) -> Mapping[str, Any] | None:
        """The bounds stored beside a run; None if there are none by this estimator."""
        if not (place / STORED).is_file():
            return None
        values = json.loads((place / STORED).read_text(encoding="utf-8"))
        return values if values["scoring"] == self._key() else None

    def applied(self, outcome: Outcome, place: Path) -> Outcome | None:
        """An outcome with these bounds; None if the run still has to be evaluated."""
        values = self.stored(place)
        if values is None:
            return None
        nats = values["nats_per_frame"]
        if "valid" in nats:
            outcome = replace(outcome, score=nats["valid"], by=values["by"])
        if "test" in nats:
            outcome = replace(outcome, test=nats["test"], test_by=values["by"])
        return outcome

    def _key(self) -> dict[str, Any]:
        return {
            "particles": self.particles,
            "estimator": self.estimator,
            "splits": [*self.splits],
        }


def _words(estimator: str, particles: int) -> str:
    """Name of a score by an estimator.

    >>> _words("iwae", 1000), _words("exact", 1)
    ('iwae bound with 1000 draws', 'exact log-likelihood')
    """
    if estimator in ("exact", "quadrature"):
        return f"{estimator} log-likelihood"
    return f"{estimator} bound with {particles} draw{'s' if particles > 1 else ''}"
