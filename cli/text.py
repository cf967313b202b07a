"""Output of commands: tables as text, or one JSON object."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pyrodgm.runs.run import Run
    from pyrodgm.tables import Table


def print_json(values: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(values))


def print_table(table: Table) -> None:
    """Print a table with columns of minimal width; the first is left-aligned, numbers right.

    For a table without rows, only its notes are printed.
    """
    if not table.rows:
        click.echo("\n".join(table.notes))
        return
    lines = [table.header, *table.cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if table.title:
        click.echo(f"{table.title}\n")
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        click.echo("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    if table.notes:
        click.echo("\n" + "\n".join(table.notes))


def print_fit(run: Run, *, as_json: bool) -> None:
    """Print results on validation beside trivial predictors; as JSON, on test too."""
    if not run.is_main_process:
        return
    if as_json:
        print_json(run.results().to_dict())
        return
    from pyrodgm.evaluate.likelihood.bound import LIKELIHOODS
    from pyrodgm.evaluate.likelihood.validation import EXACT
    from pyrodgm.evaluate.likelihood.weights import has_bound
    from pyrodgm.runs.likelihood_tables import likelihood_table
    from pyrodgm.runs.tables import objective_table, shown_table, word_table

    click.echo(f"{run.folder.path}: {run.steps} steps in {run.seconds:.0f} s\n")
    if not has_bound(run.model, run.guide):
        numbers = {"valid": run.validation("valid").numbers}
        print_table(objective_table(run.model, numbers, run.chosen_by))
        return
    valid, trivial = run.evaluate("valid"), run.trivial_bounds("valid")
    if run.chosen_by == EXACT and valid.estimator not in LIKELIHOODS:
        valid = run.evaluate("valid", estimator="quadrature")
    print_table(likelihood_table(run.model, {"valid": valid}, {"valid": trivial}))
    if run.objective.shown:
        click.echo()
        print_table(shown_table({"valid": run.validation("valid")}))
    if words := run.word_scores("valid"):
        click.echo()
        print_table(word_table(words))
    for advice in _advice(run, worse=valid.nats_per_frame < trivial["independent"].nats_per_frame):
        click.echo(f"\n{advice}")


def _advice(run: Run, *, worse: bool) -> Iterator[str]:
    """Sentences with advice on the next steps."""
    if worse:
        yield (
            "This is worse than independent features: train longer, or with another --lr; "
            "pyrodgm report shows the learning curve"
        )
    if _kept_the_first(run):
        yield (
            "The first of several evaluations was the best: a smaller fit.evaluate_every evaluates "
            "earlier, and may find better weights"
        )
    from pyrodgm.evaluate.likelihood.weights import has_weights

    path = shlex.quote(str(run.folder.path))
    check = f"pyrodgm check {path}; and " if has_weights(run.model, run.guide) else ""
    yield (
        f"Next: {check}pyrodgm evaluate {path} for the test data, which was not used for any choice"
    )


def _kept_the_first(run: Run) -> bool:
    """Whether the first of several evaluations was the best."""
    from pyrodgm.storage.files import read_records

    found = [record for record in read_records(run.folder.metrics) if "best" in record]
    return len(found) > 2 and not any(record["best"] for record in found[1:])
