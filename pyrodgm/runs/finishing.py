"""The finished run of a configuration, in a folder in which it may have begun before."""

from __future__ import annotations

from pathlib import Path

from pyrodgm.errors import UsageError
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import RunConfig, resolve
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.recorder import Watcher


def finished(config: RunConfig, folder: Path, watcher: Watcher | None = None) -> Run:
    """Fit a configuration, or continue its run.

    Raises:
        UsageError: the folder holds a run of another configuration.
    """
    if (begun := RunFolder(folder)).config.is_file():
        check_same(folder, resolve(begun.values).to_toml(), config)
        return resume(folder, watcher=watcher)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return fit_config(config, folder, watcher)


def check_same(folder: Path, kept: str, config: RunConfig) -> None:
    """Refuse to continue in a folder with another configuration.

    Raises:
        UsageError: the configuration there, as TOML, is another one.
    """
    if kept != config.to_toml():
        raise UsageError(
            f"{folder} holds a run of another configuration (it has changed since); "
            "move it away, or give another --out"
        )
