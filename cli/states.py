"""`pyrodgm predict --states`: the hidden states of a hidden Markov model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from pyrodgm.runs.run import Run


def show_states(run: Run, split: str, out: Path | None, as_json: bool) -> dict[str, Any]:
    """Print the frequency of each state, and write the states of every frame to a given file.

    Returns:
        The values to print with --json.

    Raises:
        UsageError: the model has no such states, or the file is not named .csv.
    """
    from pyrodgm.figures.prediction_files import check_ending
    from pyrodgm.runs.tables import state_table
    from pyrodgm.storage.files import replacing

    from .text import print_table

    if out is None:
        found = run.states(split)
    else:
        check_ending(out, [".csv"])
        with replacing(out) as unfinished:
            found = run.states(split)
            found.to_frame().to_csv(unfinished, index=False)
    if not as_json:
        click.echo(f"{split}: {len(found.most_likely)} sequences\n")
        print_table(state_table(found))
        if out is not None:
            click.echo(out)
    return {"states": found.summary(), "files": [] if out is None else [str(out)]}
