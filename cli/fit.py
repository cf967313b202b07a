"""`pyrodgm fit`: train a model on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from .main import Messages


@click.command("fit")
@click.option("--model", help="Model p: a name, or path/to/file.py:ClassName.")
@click.option("--guide", help="Guide q: a name, or path/to/file.py:ClassName.")
@click.option("--objective", help="Objective: a name, or path/to/file.py:ClassName.")
@click.option(
    "--data",
    help="Dataset name, an npz file or a folder of .wav files (see `pyrodgm data inspect`); with "
    "--resume, its new place.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [default: below runs/].")
@click.option("--steps", type=int, help="Largest number of training steps.")
@click.option("--time-limit", type=float, help="Largest training time in seconds.")
@click.option("--batch-size", type=int, help="Sequences per batch.")
@click.option("--lr", type=float, help="Learning rate.")
@click.option("--seed", type=int, help="Seed of everything random.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train.")
@click.option("--precision", type=click.Choice(["32", "bf16"]), help="Number format.")
@click.option("--devices", type=int, help="Devices per node.")
@click.option("--num-nodes", type=int, help="Machines.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="TOML file with the same groups and keys; repeatable, later files take precedence.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="GROUP.KEY=VALUE", help="Any option; repeatable."
)
@click.option("--resume", type=click.Path(path_type=Path), help="Continue a run from its folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@click.pass_obj
def command(
    messages: Messages,
    configs: tuple[Path, ...],
    settings: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train a model on data, then print its bound on validation beside trivial predictors.

    Options that are not given have defaults of the model. Every option can be set, as in `--set
    model.hidden_dim=50` and `--set objective.particles=8`; config.toml in the run folder records
    all of them. With --json, the bound on test is printed too.
    """
    from pyrodgm.runs.fitting import fit_config
    from pyrodgm.runs.fitting import resume as resume_run
    from pyrodgm.setup.config import resolve
    from pyrodgm.setup.settings import merge, parse_settings
    from pyrodgm.storage.folder import RunFolder
    from pyrodgm.storage.toml import read_toml

    from .progress import watching
    from .text import print_fit

    layers = [*map(read_toml, configs), _from_flags(flags), parse_settings(settings)]
    values = merge(*layers)
    if resume is not None:
        data = values.pop("data", {})
        moved = data.pop("source", None)
        _refuse_with_resume(out, {*values, *(["data"] if data else [])} - {"fit"})
        messages.of_processes(_processes(RunFolder.open(resume).values))
        with watching() as watcher:
            run = resume_run(resume, splits=moved, watcher=watcher, **values.get("fit", {}))
    else:
        config = resolve(values)
        messages.of_processes(config.fit.devices * config.fit.num_nodes)
        with watching() as watcher:
            run = fit_config(config, out, watcher)
    print_fit(run, as_json=as_json)


def _processes(values: dict[str, dict[str, Any]]) -> int:
    """The number of processes of a run, by the values of its configuration."""
    fit = values.get("fit", {})
    return fit.get("devices", 1) * fit.get("num_nodes", 1)


def _from_flags(flags: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Nested configuration values from the flags that were given."""
    places = {name: (name, "name") for name in ("model", "guide", "objective")}
    places["data"] = ("data", "source")
    values: dict[str, dict[str, Any]] = {}
    for flag, value in flags.items():
        if value is not None:
            group, key = places.get(flag, ("fit", flag))
            values.setdefault(group, {})[key] = value
    return values


def _refuse_with_resume(out: Path | None, groups: set[str]) -> None:
    given = [*(["--out"] if out else []), *sorted(groups)]
    if given:
        raise click.UsageError(
            "--resume uses the options in the run folder; only --steps, --time-limit, --device, "
            "--set fit.patience and, if the data has moved, --data are allowed; remove "
            f"{', '.join(given)}"
        )
