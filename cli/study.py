"""`pyrodgm study`: models, guides and objectives compared on one dataset, over seeds."""

from __future__ import annotations

from pathlib import Path

import rich_click as click


@click.command("study")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of runs and results [default: studies/ and the name of the file].",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Runs at the same time [default: as in the file, or one per core or device].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(file: Path, out: Path | None, processes: int | None, as_json: bool) -> None:
    """Compare candidates on one dataset: which learning algorithm suits a model?

    FILE is a TOML file with candidates, options and seeds (docs/studies.md). Every run is trained
    in a process of its own. If the command is stopped, the same command continues it. It prints
    the mean score of every candidate with its difference to the best, paired by seed, and writes
    curves.csv and curves.png into the folder.
    """
    from pyrodgm.errors import FailedRuns
    from pyrodgm.studies.runner import study

    from .text import print_json, print_table

    found = study(file, out=out, processes=processes, say=lambda text: click.echo(text, err=True))
    if as_json:
        print_json(found.to_dict())
    else:
        print_table(found.table())
        click.echo(f"\n{found.path / 'curves.csv'}\n{found.path / 'curves.png'}")
    if found.failures:
        raise FailedRuns(
            f"{len(found.failures)} of {len(found.outcomes)} runs failed; the same command tries "
            "them again",
            max(outcome.code for outcome in found.failures),
        )
