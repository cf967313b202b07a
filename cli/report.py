"""What commands print: tables for people, one JSON object for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pyrodgm.evaluate.bounds import Bound
    from pyrodgm.run import Run


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


def print_fit(run: Run, *, as_json: bool) -> None:
    """What a fit came to: bounds on validation and test, beside trivial predictors."""
    if not run.is_main_process:
        return
    from pyrodgm.evaluate.floors import NAMES

    results = run.results()
    if as_json:
        print_json(results.to_dict())
        return
    click.echo(f"{run.folder.path}: {run.steps} steps in {run.seconds:.0f} s\n")
    click.echo("log-likelihood in nats per frame (higher is better)")
    kind = "exact" if results.valid.estimator == "exact" else "1-sample lower bound"
    rows = [_row(f"{type(run.model).__name__}, {kind}", results.valid, results.test)]
    for name in sorted(results.valid_floors, key=lambda n: results.test_floors[n].nats_per_frame):
        valid, test = results.valid_floors[name], results.test_floors[name]
        rows.append(_row(NAMES[name], valid, test))
    rows.sort(key=lambda row: float(row[3]), reverse=True)
    print_table(
        ["", "valid", "by sequence", "test", "by sequence", "standard error"],
        rows,
    )
    click.echo(
        "\n'by sequence' gives every sequence the same weight, the other columns every frame."
        f"\nNext: pyrodgm check {run.folder.path}"
    )


def _row(name: str, valid: Bound, test: Bound) -> list[str]:
    return [
        name,
        f"{valid.nats_per_frame:.3f}",
        f"{valid.nats_per_frame_sequence_weighted:.3f}",
        f"{test.nats_per_frame:.3f}",
        f"{test.nats_per_frame_sequence_weighted:.3f}",
        f"{test.standard_error_nats_per_frame:.3f}",
    ]


def print_bound(bound: Bound, floors: dict[str, Bound], split: str, *, as_json: bool) -> None:
    """One bound beside the trivial predictors of the same split."""
    if as_json:
        floor_values = {name: floor.to_dict() for name, floor in floors.items()}
        print_json({"split": split, **bound.to_dict(), "floors": floor_values})
        return
    click.echo(
        f"{split}: {bound.examples} sequences, {bound.frames} frames; {bound.estimator} with "
        f"{bound.particles} particle{'s' if bound.particles > 1 else ''}\n"
    )
    from pyrodgm.evaluate.floors import NAMES

    named = {"this run": bound} | {NAMES[name]: floor for name, floor in floors.items()}
    rows = [
        [
            name,
            f"{b.nats_per_frame:.3f}",
            f"{b.nats_per_frame_sequence_weighted:.3f}",
            f"{b.nats_per_example:.2f}",
            f"{b.standard_error_nats_per_example:.2f}",
        ]
        for name, b in sorted(named.items(), key=lambda item: -item[1].nats_per_frame)
    ]
    header = ["nats", "per frame", "by sequence", "per sequence", "standard error"]
    print_table(header, rows)
