"""`pyrodgm reproduce`: reproduction of the tables of papers."""

from __future__ import annotations

from pathlib import Path

import rich_click as click


@click.command("reproduce")
@click.argument("name")
@click.option("--quick", is_flag=True, help="A small version, in minutes.")
@click.option(
    "--seeds",
    type=int,
    help="Number of runs per cell [default: 1, or one for each setting of the table].",
)
@click.option("--row", "rows", multiple=True, help="Only this row; repeatable.")
@click.option(
    "--protocol",
    type=click.Choice(["published", "ours"]),
    help="Only under this protocol [default: both].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of runs and results [default: reproductions/NAME].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(
    name: str,
    quick: bool,
    seeds: int | None,
    rows: tuple[str, ...],
    protocol: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train and measure the models of a published table, beside the paper's own numbers.

    NAME is tsbn-balls, tsbn-mocap, tsbn-music, tsbn-stu, fivo-music, avrnn-music, avrnn-speech,
    avb-points, gan-gmm, svae-gmm, svae-mnist, rbm-mnist, rtrbm-music or nrf-gmm. Every model is
    trained under the published protocol and under ours, or over many settings; baselines are shown
    below. If the command is stopped, the same command continues it; results of earlier calls are
    included. It writes results.csv, results.json and table.md into the folder, and histograms.png
    of a table with settings.
    """
    from pyrodgm.errors import NonFiniteError
    from pyrodgm.reproduce import find, present
    from pyrodgm.reproduce.runner import reproduce

    from .progress import watching
    from .text import print_json, print_table

    table = find(name)
    folder = out or Path("reproductions") / table.name
    with watching() as watcher:
        outcomes = reproduce(
            table,
            folder,
            seeds=seeds,
            quick=quick,
            rows=rows,
            protocol=protocol,
            watcher=watcher,
            say=lambda text: click.echo(text, err=True),
        )
    paths = present.write(table, outcomes, folder / ("quick" if quick else "full"))
    if as_json:
        print_json(present.to_dict(table, outcomes))
    else:
        click.echo(table.title)
        for block in present.tables(table, outcomes):
            click.echo()
            print_table(block)
        click.echo()
        for note in table.notes:
            click.echo(f"- {note}")
        click.echo("\n".join(str(path) for path in paths))
    if failed := [outcome for outcome in outcomes if outcome.failure]:
        shown = (f"{o.row}, {o.protocol}, seed {o.seed}: {o.failure}" for o in failed)
        raise NonFiniteError("\n".join(shown))
