"""`pyrodgm data`: inspection of data before fitting."""

from __future__ import annotations

import rich_click as click


@click.group("data")
def command() -> None:
    """Inspect data before fitting it."""


@command.command("inspect")
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_context
def inspect_command(ctx: click.Context, source: str, as_json: bool) -> None:
    """Print shapes, ranges, lengths, missing values, and the command that fits SOURCE.

    SOURCE is a dataset name or a file. For a file that `fit` would refuse, the reason is shown, and
    the exit code is 3.
    """
    from pyrodgm.data.inspect import inspect, render
    from pyrodgm.errors import DataError

    from .text import print_json

    found = inspect(source)
    if as_json:
        print_json(found)
    else:
        click.echo(render(found))
    if found["refused"]:
        ctx.exit(DataError.exit_code)
