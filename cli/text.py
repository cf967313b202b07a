"""What commands print: tables for people, one JSON object for programs."""

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
    """Columns as wide as they need to be; the first to the left, numbers to the right.

    Of a table without rows its notes alone.
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
    """What a fit came to on validation, beside trivial predictors; as JSON, on test as well."""
    if not run.is_main_process:
        return
    if as_json:
        print_json(run.results().to_dict())
        return
    from pyrodgm.evaluate.likelihood.bounds import has_bound
    from pyrodgm.runs.tables import likelihood_table, objective_table, word_table

    click.echo(f"{run.folder.path}: {run.steps} steps in {run.seconds:.0f} s\n")
    if not has_bound(run.model, run.guide):
        numbers = {"valid": run.validation("valid").numbers}
        print_table(objective_table(run.model, numbers, run.chosen_by))
        return
    valid, trivial = run.evaluate("valid"), run.trivial_bounds("valid")
    print_table(likelihood_table(run.model, {"valid": valid}, {"valid": trivial}))
    if words := run.word_scores("valid"):
        click.echo()
        print_table(word_table(words))
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
    from pyrodgm.evaluate.likelihood.bounds import has_weights

    path = shlex.quote(str(run.folder.path))
    check = f"pyrodgm check {path}; and " if has_weights(run.model, run.guide) else ""
    yield (f"Next: {check}pyrodgm evaluate {path} for the test data, which no choice has seen yet")


def _kept_the_first(run: Run) -> bool:
    """Whether no later evaluation was better than the first, and there were some."""
    from pyrodgm.storage.files import read_records

    found = [record for record in read_records(run.folder.metrics) if "best" in record]
    return len(found) > 2 and not any(record["best"] for record in found[1:])
