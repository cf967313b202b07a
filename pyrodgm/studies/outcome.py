"""The outcome of one run of a study, kept in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyrodgm.runs.finishing import check_same
from pyrodgm.runs.run import Run
from pyrodgm.runs.stored import stored_results
from pyrodgm.setup.config import RunConfig
from pyrodgm.storage.files import read_records, replacing

RESULT, FAILURE, LOG, RUN = "result.json", "failure.json", "log.txt", "run"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Args:
        candidate: name of the candidate.
        seed: of the run.
        score: the validation score of the weights that were kept; None if there is none.
        by: name of the score; see `Validation.by`.
        test: the bound on test in nats per frame; None if there is none.
        test_by: name of that bound; empty for one draw, or the exact log-likelihood.
        steps: of training.
        seconds: of training.
        failure: why there are no numbers; else empty.
        code: exit code of the failure; else 0.
    """

    candidate: str
    seed: int
    score: float | None = None
    by: str = ""
    test: float | None = None
    test_by: str = ""
    steps: int = 0
    seconds: float = 0.0
    failure: str = ""
    code: int = 0

    @classmethod
    def of(cls, candidate: str, seed: int, run: Run) -> Outcome:
        """The outcome of a finished run."""
        scores = [each["score"] for each in evaluations(run.folder.path)]
        kept = stored_results(run.folder, run.info)
        return cls(
            candidate,
            seed,
            score=max((score for score in scores if score is not None), default=None),
            by=run.chosen_by,
            test=kept["test"].scored.bound().nats_per_frame if kept else None,
            steps=run.steps,
            seconds=round(run.seconds, 3),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluations(run: Path) -> list[dict[str, Any]]:
    """The evaluations of a run on validation: step, seconds and score; none if it has not begun."""
    metrics = run / "metrics.jsonl"
    records = read_records(metrics) if metrics.is_file() else []
    return [record for record in records if "score" in record]


def keep(place: Path, config: RunConfig, outcome: Outcome) -> None:
    """Store an outcome in the folder of its run."""
    with replacing(place / RESULT) as unfinished:
        values = {"config": config.to_toml(), "outcome": outcome.to_dict()}
        unfinished.write_text(json.dumps(values, indent=2), encoding="utf-8")


def kept(place: Path, config: RunConfig) -> Outcome | None:
    """The outcome of an earlier call; None if there is none.

    Raises:
        UsageError: it is that of another configuration.
    """
    result = place / RESULT
    if not result.is_file():
        return None
    values = json.loads(result.read_text(encoding="utf-8"))
    check_same(place, values["config"], config)
    return Outcome(**values["outcome"])
