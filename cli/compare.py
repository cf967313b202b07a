"""`pyrodgm compare`: several runs on the same data, sequence by sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.runs.run import Run


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data", help="Other data (a single array is enough), or the new place of the run's data."
)
@click.option("--split", help="train, valid or test [default: test, or the only array].")
@click.option("--particles", default=1, show_default=True, help="Draws per sequence, K.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    runs: tuple[Path, ...],
    data: str | None,
    split: str | None,
    particles: int,
    seed: int,
    as_json: bool,
) -> None:
    """Rank runs on the same data, with the standard error of every difference to the best.

    Differences are paired by sequence, so they can be significant even if the errors overlap.
    Fields are ranked so if log Z of one of them is exact. Otherwise runs without a normalised
    density are ranked by the score of their objective on the split.
    """
    from pyrodgm.evaluate.likelihood.compare import has_scores, ranked
    from pyrodgm.runs.run import Run
    from pyrodgm.runs.tables import comparison_table

    from .text import print_json, print_table

    loaded = {str(path): Run.load(path, data) for path in runs}
    names = next(iter(loaded.values())).data.names
    split = split or ("test" if "test" in names else names[0])
    given = {"particles": particles, "seed": seed}
    if not any(has_scores(run.model, run.guide) for run in loaded.values()):
        _show_validations(loaded, split, seed, as_json)
        return
    rows = ranked({name: run.scored(split, **given) for name, run in loaded.items()}, particles)
    if as_json:
        chosen = {name: {"chosen_by": run.chosen_by} for name, run in loaded.items()}
        print_json({"split": split, "runs": [{**x.to_dict(), **chosen[x.name]} for x in rows]})
        return
    print_table(comparison_table(rows))


def _show_validations(runs: dict[str, Run], split: str, seed: int, as_json: bool) -> None:
    """Print runs without bounds, by the validation scores of their objectives."""
    from pyrodgm.runs.comparing import by_validation
    from pyrodgm.runs.tables import validation_table

    from .text import print_json, print_table

    found = by_validation(runs, split, seed=seed)
    if as_json:
        rows = [
            {"run": n, "chosen_by": x.by, "score": x.score, **x.numbers} for n, x in found.items()
        ]
        print_json({"split": split, "runs": rows})
        return
    print_table(validation_table(found, split))
