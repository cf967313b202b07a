"""`pyrodgm report`: the report of a run as one HTML page."""

from __future__ import annotations

from pathlib import Path

import rich_click as click


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write [default: RUN/report.html]; with it, nothing is written into RUN.",
)
@click.option("--data", help="New place of the run's data, if it has moved.")
@click.option("--split", default="test", show_default=True, help="train, valid or test.")
@click.option(
    "--check/--no-check",
    "with_check",
    default=True,
    help="Show the findings of `pyrodgm check`, and run it first if needed.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
def command(
    run: Path, out: Path | None, data: str | None, split: str, with_check: bool, seed: int
) -> None:
    """Write one HTML file that opens offline: results, figures, checks and configuration."""
    from pyrodgm.evaluate.likelihood.weights import has_weights
    from pyrodgm.report import write_report
    from pyrodgm.runs.check import last_check
    from pyrodgm.runs.run import Run

    loaded = Run.load(run, data)
    weighted = has_weights(loaded.model, loaded.guide)
    if with_check and weighted and last_check(loaded, split) is None:
        click.echo(
            "checking guide and model first, which may take minutes; --no-check skips it",
            err=True,
        )
    click.echo(write_report(loaded, out, split=split, with_check=with_check, seed=seed))
