"""`pyrodgm check`: checks of a fitted guide and model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click


@click.command("check")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data", help="Other data (a single array is enough), or the new place of the run's data."
)
@click.option("--split", help="train, valid or test [default: test, or the only array].")
@click.option("--draws", default=1000, show_default=True, help="Importance draws per sequence.")
@click.option(
    "--posterior-draws", default=100, show_default=True, help="Draws stored in posterior.nc."
)
@click.option(
    "--sequences",
    type=int,
    help="Number of sequences for the check of the guide, spread evenly [default: as many as take "
    "some seconds].",
)
@click.option(
    "--calibration",
    default=0,
    show_default="none",
    help="Simulation-based calibration (SBC) of the guide with this number of simulated sequences, "
    "such as 200.",
)
@click.option(
    "--gaps",
    default=0,
    show_default="none",
    help="Split the inference gap of this number of sequences, such as 20, into approximation gap "
    "and amortisation gap.",
)
@click.option(
    "--ais", is_flag=True, help="For --gaps: the log-likelihood by annealed importance sampling."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the files [default: RUN].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    run: Path,
    data: str | None,
    split: str | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check guide and model: Pareto k-hat, active units, predictive checks, a verdict in words.

    --calibration N also tests whether the guide's draws are those of the posterior, on sequences
    simulated from the model: ranks of the latents among them must be uniform. --gaps N says how
    much of the gap between bound and log-likelihood is due to the family of the guide, and how
    much to amortisation.

    Writes posterior.nc (for arviz), figures and check.json into the run folder, or into --out.
    """
    from pyrodgm.runs.check import check
    from pyrodgm.runs.guide_tests import GuideTests
    from pyrodgm.runs.run import Run

    from .progress import showing_progress
    from .text import print_json

    tests = GuideTests(**{name: options.pop(name) for name in ("calibration", "gaps", "ais")})
    loaded = Run.load(run, data)
    with showing_progress(quiet=as_json) as progress:
        found = check(
            loaded, split=split, seed=seed, out=out, progress=progress, tests=tests, **options
        )
    if as_json:
        print_json(found.to_dict())
        return
    click.echo(found.text())
