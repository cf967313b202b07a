"""The result of a study: a table, a csv file and a figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from pyrodgm.display import json_number
from pyrodgm.evaluate.likelihood.validation import NOTHING, in_words
from pyrodgm.storage.files import replacing
from pyrodgm.studies.outcome import Outcome
from pyrodgm.tables import Column, Measured, Table

if TYPE_CHECKING:
    from pyrodgm.figures.studies import Curves

FIELDS = ("candidate", "seed", "step", "seconds", "score", "chosen_by", "best")
NOT_SHARED = "the scores have different meanings, so there are no differences between them: "

WITHOUT_SCORE = (
    "No candidate has a score on validation, so none is the best; pyrodgm evaluate RUN --estimator "
    "samples compares the draws of a run with data."
)


@dataclass(frozen=True)
class Row:
    """One candidate, over its seeds.

    Args:
        candidate: its name.
        runs: number of runs with a score or, without scores, number of finished runs.
        by: name of the score.
        score: mean over seeds.
        below_best: mean over the seeds that both have of the best candidate's score less this one.
        test: bound on test, mean over seeds, in nats per frame.
        steps: mean number of steps.
        seconds: mean time of training.
    """

    candidate: str
    runs: int
    by: str
    score: Measured
    below_best: Measured
    test: Measured
    steps: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "candidate": self.candidate,
            "runs": self.runs,
            "chosen_by": self.by,
            "score": json_number(self.score.value),
            "standard_error_score": json_number(self.score.error),
            "score_below_best": json_number(self.below_best.value),
            "standard_error_of_difference": json_number(self.below_best.error),
            "test_nats_per_frame": json_number(self.test.value),
            "standard_error_test_nats_per_frame": json_number(self.test.error),
            "steps": json_number(self.steps),
            "seconds": json_number(self.seconds),
        }


@dataclass(frozen=True)
class Study:
    """The result of a study.

    Args:
        path: its folder.
        outcomes: of all runs.
        curves: the evaluations of every run, by candidate and seed.
    """

    path: Path
    outcomes: tuple[Outcome, ...]
    curves: Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]

    @property
    def failures(self) -> list[Outcome]:
        """Runs that failed."""
        return [outcome for outcome in self.outcomes if outcome.failure]

    def rows(self) -> list[Row]:
        """Candidates, the best mean score first; those without a score are last."""
        names = list(dict.fromkeys(outcome.candidate for outcome in self.outcomes))
        of = {n: [o for o in self.outcomes if o.candidate == n and not o.failure] for n in names}
        scores = {n: {o.seed: o.score for o in of[n] if o.score is not None} for n in names}
        ranked = sorted(names, key=lambda n: -fmean(scores[n].values()) if scores[n] else math.inf)
        best = ranked[0]
        return [_row(name, of[name], scores[name], scores[best], of[best]) for name in ranked]

    def table(self) -> Table:
        """Candidates with their scores and differences to the best, paired by seed."""
        rows = self.rows()
        ways = {row.by: row.candidate for row in rows if row.by not in ("", NOTHING)}
        notes = [f"{each.candidate}, seed {each.seed}: {each.failure}" for each in self.failures]
        if len(ways) > 1:
            notes.append(NOT_SHARED + "; ".join(f"{name}: {by}" for by, name in ways.items()))
        elif not ways:
            notes.append(WITHOUT_SCORE)
        elif ways:
            notes.append(f"The score is {in_words(*ways)}; errors are over seeds.")
        if by := {each.test_by for each in self.outcomes if each.test_by}:
            notes.append(f"On test, it is the {' or the '.join(sorted(by))}.")
        columns = [
            Column("candidate"),
            Column("runs"),
            Column("score"),
            Column("below best"),
            Column("test", "nats per frame"),
            Column("steps", digits=0),
            Column("seconds", digits=0),
        ]
        cells = [
            [r.candidate, r.runs, r.score, r.below_best, r.test, r.steps, r.seconds] for r in rows
        ]
        return Table(columns, cells, notes=notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "study": str(self.path),
            "candidates": [row.to_dict() for row in self.rows()],
            "runs": [outcome.to_dict() for outcome in self.outcomes],
        }

    def write(self) -> list[Path]:
        """Write curves.csv and curves.png into the folder; the paths."""
        from pyrodgm.figures.checks import save  # matplotlib is slow to import
        from pyrodgm.figures.studies import study_curves

        paths = [self.path / "curves.csv"]
        with replacing(paths[0]) as unfinished, unfinished.open("w", newline="") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, FIELDS, extrasaction="ignore")
            writer.writeheader()
            for (candidate, seed), records in self.curves.items():
                writer.writerows({**r, "candidate": candidate, "seed": seed} for r in records)
        curves = self._of_candidates()
        if curves:
            paths.append(self.path / "curves.png")
            save(study_curves(curves), paths[1])
        return paths

    def _of_candidates(self) -> dict[str, list[Curves]]:
        """Seconds, steps and scores of every run, by candidate in the order of the table."""
        from pyrodgm.figures.studies import Curves

        found: dict[str, list[Curves]] = {}
        for row in self.rows():
            for (candidate, _), records in self.curves.items():
                scored = [r for r in records if r["score"] is not None]
                if candidate == row.candidate and scored:
                    columns = ([r[key] for r in scored] for key in ("seconds", "step", "score"))
                    found.setdefault(candidate, []).append(Curves(*columns))
        return found


def _row(
    name: str,
    done: list[Outcome],
    own: Mapping[int, float],
    best: Mapping[int, float],
    of_best: list[Outcome],
) -> Row:
    by = done[0].by if done else ""
    alike = bool(of_best) and by == of_best[0].by
    shared = [best[seed] - own[seed] for seed in own if seed in best] if alike else []
    return Row(
        candidate=name,
        runs=len(done),
        by=by,
        score=_mean([*own.values()]),
        below_best=_mean(shared),
        test=_mean([each.test for each in done if each.test is not None]),
        steps=_mean([each.steps for each in done]).value,
        seconds=_mean([each.seconds for each in done]).value,
    )


def _mean(values: Sequence[float]) -> Measured:
    """A mean with its standard error; NaN where it is unknown."""
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measured(fmean(values) if values else math.nan, error)
