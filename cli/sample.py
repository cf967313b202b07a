"""`pyrodgm sample`: samples from a fitted model, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click


@click.command("sample")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--num", default=1, show_default=True, help="Number of sequences.")
@click.option("--length", type=int, help="Frames of each [default: the mean of the data].")
@click.option("--prefix", default=0, help="Number of first frames taken from the data.")
@click.option("--split", help="Split for prefix and conditions [default: test, or the only array].")
@click.option("--data", help="Data for prefix and conditions, or the new place of the run's data.")
@click.option(
    "--conditions",
    type=click.Path(path_type=Path),
    help="Conditions of the frames (.npy or .npz), if the model takes any.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="Class of the frames, if classes were conditions in training; several are used in turn.",
)
@click.option(
    "--out",
    "outs",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="File to write: .npz, .png, .gif (videos), .mid (piano rolls), .wav (sound); repeatable.",
)
@click.option("--revised", is_flag=True, help="Draws of a generator, revised by its critic.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draws.")
def command(
    run: Path,
    data: str | None,
    conditions: Path | None,
    outs: tuple[Path, ...],
    split: str | None,
    **options: Any,
) -> None:
    """Draw sequences from a fitted model; the ending of the file decides the format.

    With several files, the same sequences are in all of them, as in `--out a.wav --out a.png`.
    """
    from pyrodgm.data.ahead import read_conditions
    from pyrodgm.figures.samples_file import save_samples
    from pyrodgm.runs.run import Run

    loaded = Run.load(run, data)
    for out in outs:
        loaded.data.refuse_to_replace(out, data, conditions and str(conditions))
    given = None if conditions is None else read_conditions(conditions)
    if split is not None and not (options["prefix"] or loaded.info.num_conditions):
        raise click.UsageError("--split is for --prefix, or for conditions; leave it out")
    if given is None and loaded.info.num_conditions and not options["labels"]:
        _, split = loaded.data.choose(split)
        click.echo(f"using conditions of sequences of the {split} split", err=True)
    draws = loaded.sample(split=split, conditions=given, **options)
    for out in outs:
        for path in save_samples(draws["x"], loaded.info, out):
            click.echo(path)
