"""Which objective and which data does a run folder hold?"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, resolve
from pyrodgm.data.base import Splits
from pyrodgm.data.kinds import taken_for
from pyrodgm.errors import DataError, RunFolderError, UsageError
from pyrodgm.folder import RunFolder
from pyrodgm.objectives import Objective
from pyrodgm.settings import read_toml


def read_config(folder: RunFolder) -> RunConfig | None:
    """The configuration of a run folder; None where it was fitted from Python objects."""
    values = read_toml(folder.config)
    return resolve(values) if "model" in values else None


def pieces(
    folder: RunFolder,
    config: RunConfig | None,
    objective: Objective | None,
    splits: Splits | None,
) -> tuple[Objective, Splits]:
    """Objective and data of a run: as given, else built from its configuration.

    Raises:
        RunFolderError: the run has no full configuration, and not both are given.
    """
    if config is None and (objective is None or splits is None):
        raise RunFolderError(
            f"{folder.path} was fitted from Python objects; load it in Python and give them again: "
            f"Run.load('{folder.path}', objective=..., splits=...)"
        )
    if splits is None:
        splits = build_data(cast("RunConfig", config))
    if objective is None:
        info = folder.data_info() if folder.environment.is_file() else splits.info
        objective = build_objective(cast("RunConfig", config), info)
    return objective, splits


def data_for(folder: RunFolder, splits: Splits) -> Splits:
    """Data as the model of a run takes it: of its size, and its values of the same kind.

    Raises:
        DataError: it is of another.
    """
    info, other = folder.data_info(), splits.info
    if other.dim != info.dim:
        raise DataError(
            f"the run {folder.path} was fitted on '{info.name}' with {info.dim} features per "
            f"frame, and '{other.name}' has {other.dim}; give data of the same kind"
        )
    if (info.kind, other.kind) == ("binary", "unit"):
        return splits  # grey values score by cross-entropy
    try:
        return taken_for(splits, info.kind)
    except DataError as error:
        raise DataError(
            f"the run {folder.path} was fitted on {info.kind} data, and '{other.name}' is other: "
            f"{error}"
        ) from error


def refuse_to_replace_data(folder: RunFolder, path: Path) -> None:
    """Raise where a file to be written is the one that the run was fitted on.

    Raises:
        UsageError: it is.
    """
    config = read_config(folder)
    if config is not None and Path(config.data.name) == path.expanduser().resolve():
        raise UsageError(
            f"{path} is the data that {folder.path} was fitted on; give another file to write"
        )
