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
    and sooner with --estimator fivo, a particle filter, where sequences are long. Where tokens are
    held out, as in stu, their prediction follows.
    """
    from pyrodgm.evaluate.floors import floors
    from pyrodgm.run import Run

    from .report import print_bound, print_json, print_words

    loaded = Run.load(run, data)
    bound = loaded.evaluate(split, particles=particles, estimator=estimator, seed=seed)
    trivial = floors(loaded.splits, split)
    words = loaded.word_scores(split, seed=seed)
    if as_json:
        beside = {name: floor.to_dict() for name, floor in trivial.items()}
        values = {"split": split, **bound.to_dict(), "floors": beside}
        if words:
            values["held_out"] = {name: score.to_dict() for name, score in words.items()}
        print_json(values)
        return
    print_bound(bound, trivial, split)
    if words:
        print_words(words)
