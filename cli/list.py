"""`pyrodgm list`: registered names, and which of them fit together."""

from __future__ import annotations

from shutil import get_terminal_size
from typing import Any

import rich_click as click

GROUPS = ["models", "guides", "objectives", "data"]


@click.command("list")
@click.argument("what", type=click.Choice(GROUPS), required=False)
@click.option(
    "--grid", is_flag=True, help="Show which objective fits which model, and what it optimises."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(what: str | None, grid: bool, as_json: bool) -> None:
    """List models, guides, objectives and datasets, and which of them fit together."""
    if grid:
        _print_grid(what, as_json=as_json)
        return
    from pyrodgm.setup import compat
    from pyrodgm.setup.registry import REGISTRIES

    from .text import print_json

    kinds = {"models": "model", "guides": "guide", "objectives": "objective", "data": "data"}
    shown = [what] if what else GROUPS
    entries = {
        group: {name: _first_line(entry) for name, entry in REGISTRIES[kinds[group]].items()}
        for group in shown
    }
    triples = list(compat.table()) if what is None else []
    if as_json:
        fits = [_fitting(*row) for row in triples]
        print_json({**entries, **({"fits": fits} if what is None else {})})
        return
    width = max(len(name) for lines in entries.values() for name in lines)
    for group, lines in entries.items():
        click.echo(group)
        for name, line in lines.items():
            click.echo(f"  {name:<{width}}  {line}")
        click.echo()
    if triples:
        click.echo("compatible models, guides and objectives")
        for model, guide in dict.fromkeys((model, guide) for model, guide, _ in triples):
            fitting = [name for *pair, name in triples if pair == [model, guide]]
            click.echo(f"  {model} + {guide}: {', '.join(fitting)}")


def _fitting(key: str, guide: str, objective: str) -> dict[str, Any]:
    """A triple of names, and options of the model that it needs."""
    from pyrodgm.setup.compat import registered

    name, form = registered()[key]
    named = {"model": name, "guide": guide, "objective": objective}
    return {**named, "options": dict(form.options)} if form.options else named


def _print_grid(what: str | None, *, as_json: bool) -> None:
    """Print models x objectives, and what every objective optimises."""
    from pyrodgm.errors import UsageError

    from . import grid
    from .text import print_json, print_table

    if what is not None:
        raise UsageError(f"--grid shows models and objectives together; leave '{what}' out")
    if as_json:
        print_json(grid.as_json())
        return
    for number, table in enumerate(grid.tables(get_terminal_size((100, 24)).columns)):
        click.echo("\n" if number else "", nl=False)
        print_table(table)


def _first_line(entry: Any) -> str:
    return (entry.__doc__ or "").strip().splitlines()[0] if entry.__doc__ else ""
