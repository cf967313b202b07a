"""`pyrodgm list`: registered names, and which of them fit together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from json import dumps
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.setup.describe import Description

GROUPS = {"models": "model", "guides": "guide", "objectives": "objective", "data": "data"}
_INDENT = "  "


@click.command("list")
@click.argument("what", required=False, metavar="[models|guides|objectives|data|fit|NAME]")
@click.option(
    "--grid", is_flag=True, help="Show which objective fits which model, and what it optimises."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def command(what: str | None, grid: bool, as_json: bool) -> None:
    """List models, guides, objectives and datasets, and which of them fit together.

    With a NAME (or path/to/file.py:ClassName), show what it is, and the meaning and default of
    each of its options; with `fit`, those of training.
    """
    if grid:
        _print_grid(what, as_json=as_json)
    elif what is None or what in GROUPS:
        _print_names(what, as_json=as_json)
    else:
        _print_descriptions(what, as_json=as_json)


def _print_names(what: str | None, *, as_json: bool) -> None:
    """Print the names of one group; of all groups, followed by what fits together."""
    from pyrodgm.setup import compat
    from pyrodgm.setup.registry import REGISTRIES

    from .text import print_json

    entries = {
        group: {name: _first_line(entry) for name, entry in REGISTRIES[GROUPS[group]].items()}
        for group in ([what] if what else GROUPS)
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
        click.echo("\nThe options of each: pyrodgm list NAME; those of training: pyrodgm list fit")


def _fitting(key: str, guide: str, objective: str) -> dict[str, Any]:
    """A triple of names, and options of the model that it needs."""
    from pyrodgm.setup.compat import registered

    name, form = registered()[key]
    named = {"model": name, "guide": guide, "objective": objective}
    return {**named, "options": dict(form.options)} if form.options else named


def _print_descriptions(name: str, *, as_json: bool) -> None:
    """Print what a name stands for, in every group that has it."""
    from pyrodgm.setup.describe import describe

    from .text import print_json

    found = describe(name)
    if as_json:
        print_json([_as_json(each) for each in found])
        return
    for number, each in enumerate(found):
        click.echo("\n" if number else "", nl=False)
        for line in _lines(each, get_terminal_size((100, 24)).columns):
            click.echo(line)


def _as_json(found: Description) -> dict[str, Any]:
    """A description as plain values; options that must be given have no default."""
    options = [
        {
            "name": option.name,
            **({} if option.required else {"default": option.default}),
            "meaning": option.meaning,
        }
        for option in found.options
    ]
    return {**asdict(found), "options": options}


def _lines(found: Description, width: int) -> Iterator[str]:
    """A description as lines that are at most so wide, if names allow."""
    title = f"{found.group} {found.name}" if found.group != found.name else found.name
    yield from wrap(f"{title}: {found.summary}", width)
    if found.reference:
        yield from wrap(f"Reference: {found.reference}", width)
    if found.companions:
        yield f"Default {', '.join(f'{group} {name}' for group, name in found.companions.items())}"
    if found.training:
        changed = (f"fit.{key}={_value(value)}" for key, value in found.training.items())
        yield f"Default {', '.join(changed)}"
    if found.fits:
        whose = "objectives" if found.group == "model" else "models"
        yield from wrap(f"Fits the {whose} {', '.join(found.fits)}", width)
    if not found.options:
        yield "No options"
        return
    yield f"Options, with their defaults, for --set {found.group}.NAME=VALUE"
    names = max(len(option.name) for option in found.options)
    values = [("must be given" if o.required else _value(o.default)) for o in found.options]
    indent = " " * (len(_INDENT) + names + max(map(len, values)) + 4)
    for option, value in zip(found.options, values, strict=True):
        start = f"{_INDENT}{option.name:<{names}}  {value}"
        yield from wrap(f"{start:<{len(indent)}}{option.meaning}", width, subsequent_indent=indent)


def _value(value: Any) -> str:
    """A value as it is typed after `--set NAME=`, or a dash where none is given.

    >>> [_value(value) for value in (0.5, True, (1, 2), "auto", None)]
    ['0.5', 'true', '[1,2]', 'auto', '–']
    """
    if value is None:
        return "–"
    return value if isinstance(value, str) else dumps(value, separators=(",", ":"))


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
