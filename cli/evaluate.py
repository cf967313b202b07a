"""`pyrodgm evaluate`: a bound on the log-likelihood of a split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.evaluate.bounds import Estimator


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other data of the same kind: a name or a file.")
@click.option("--split", default="test", show_default=True, help="train, valid or test.")
@click.option("--particles", default=1, show_default=True, help="Draws per sequence, K.")
@click.option(
    "--estimator",
    type=click.Choice(["auto", "elbo", "iwae", "fivo", "exact"]),
    default="auto",
    show_default=True,
    help="auto: exact without latents, else elbo for one particle and iwae for more.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    run: Path,
    data: str | None,
    split: str,
    particles: int,
    estimator: Estimator,
    seed: int,
    as_json: bool,
) -> None:
    """Bound the log-likelihood of a split, beside trivial predictors of the same data.

    With K particles the bound is importance-weighted: it rises with K toward the log-likelihood,
    and sooner with --estimator fivo, a particle filter, where sequences are long.
    """
    from pyrodgm.data import load
    from pyrodgm.evaluate.floors import floors
    from pyrodgm.run import Run

    from .report import print_bound

    loaded = Run.load(run, load(data) if data else None)
    bound = loaded.evaluate(split, particles=particles, estimator=estimator, seed=seed)
    print_bound(bound, floors(loaded.splits, split), split, as_json=as_json)
