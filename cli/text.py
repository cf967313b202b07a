"""What commands print: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pyrodgm.display import number

if TYPE_CHECKING:
    from pyrodgm.evaluate.likelihood.bounds import Bound
    from pyrodgm.evaluate.words.scores import WordScore
    from pyrodgm.runs.run import Run


def print_json(values: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(values))


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as they need to be; the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip())


def estimate(bound: Bound) -> str:
    """What kind of number a log-likelihood is."""
    if bound.estimator == "exact":
        return "exact"
    return f"{bound.particles}-sample lower bound"


def print_fit(run: Run, *, as_json: bool) -> None:
    """What a fit came to on validation, beside trivial predictors; as JSON, on test as well."""
    if not run.is_main_process:
        return
    if as_json:
        print_json(run.results().to_dict())
        return
    from pyrodgm.evaluate.trivial.likelihoods import NAMES

    valid = run.evaluate("valid")
    named = {f"{type(run.model).__name__}, {estimate(valid)}": valid}
    trivial = run.floors("valid")
    named |= {NAMES[name]: floor for name, floor in trivial.items()}
    rows = [
        [
            name,
            number(b.nats_per_frame),
            number(b.standard_error_nats_per_frame),
            number(b.nats_per_frame_sequence_weighted),
            number(b.standard_error_nats_per_frame_sequence_weighted),
        ]
        for name, b in sorted(named.items(), key=lambda item: -item[1].nats_per_frame)
    ]
    click.echo(f"{run.folder.path}: {run.steps} steps in {run.seconds:.0f} s\n")
    click.echo("log-likelihood of the validation data in nats per frame (higher is better)")
    error = "standard error"
    print_table(["", "all frames alike", error, "all sequences alike", error], rows)
    if words := run.word_scores("valid"):
        print_words(words)
    for advice in _advice(run, worse=valid.nats_per_frame < trivial["independent"].nats_per_frame):
        click.echo(f"\n{advice}")


def _advice(run: Run, *, worse: bool) -> Iterator[str]:
    """What to do next."""
    if worse:
        yield (
            "This is worse than features that know nothing of each other or of the past: train "
            "longer, or with another --lr; pyrodgm report shows the learning curve"
        )
    if _kept_the_first(run):
        yield (
            "The weights kept are those of the first of several evaluations: a smaller "
            "fit.evaluate_every looks sooner, and may find better ones"
        )
    path = shlex.quote(str(run.folder.path))
    yield (
        f"Next: pyrodgm check {path}; and pyrodgm evaluate {path} for the test data, which no "
        "choice has seen yet"
    )


def _kept_the_first(run: Run) -> bool:
    """Whether no later evaluation was better than the first, and there were some."""
    from pyrodgm.storage.files import read_records

    told = [record for record in read_records(run.folder.metrics) if "best" in record]
    return len(told) > 2 and not any(record["best"] for record in told[1:])


def print_bound(bound: Bound, floors: dict[str, Bound], split: str) -> None:
    """One bound beside the trivial predictors of the same split."""
    from pyrodgm.evaluate.trivial.likelihoods import NAMES

    click.echo(
        f"{split}: {bound.examples} sequence{'s' if bound.examples > 1 else ''}, {bound.frames} "
        f"frames; {_how(bound)}\n"
    )
    named = {"this run": bound} | {NAMES[name]: floor for name, floor in floors.items()}
    rows = [
        [
            name,
            number(b.nats_per_frame),
            number(b.nats_per_frame_sequence_weighted),
            number(b.nats_per_example, 2),
            number(b.standard_error_nats_per_example, 2),
        ]
        for name, b in sorted(named.items(), key=lambda item: -item[1].nats_per_frame)
    ]
    header = ["nats", "per frame", "by sequence", "per sequence", "standard error"]
    print_table(header, rows)


def _how(bound: Bound) -> str:
    if bound.estimator == "exact":
        return "exact"
    return f"{bound.estimator} with {bound.particles} particle{'s' if bound.particles > 1 else ''}"


def print_words(scores: dict[str, WordScore]) -> None:
    """How well held-out tokens are predicted, beside trivial predictors."""
    from pyrodgm.evaluate.words.predictors import NAMES
    from pyrodgm.evaluate.words.scores import TOP

    rows = [
        [
            NAMES[name],
            number(score.nats),
            number(score.nats_error),
            number(score.mixture_overlap),
            number(score.next_nats),
            number(score.mixture_next_overlap),
        ]
        for name, score in sorted(scores.items(), key=lambda item: -item[1].nats)
    ]
    click.echo("\nheld-out tokens")
    header = ["", "nats a token", "standard error", f"top {TOP}", "next frame, nats", f"top {TOP}"]
    print_table(header, rows)
    click.echo(
        f"\n'top {TOP}' is the share of the {TOP} most frequent words that were predicted; see "
        "docs/prediction.md"
    )
