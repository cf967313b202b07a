"""Which objective and which data does a run folder hold?"""

from __future__ import annotations

from typing import cast

from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, resolve
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import DataError, RunFolderError
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


def check_kind(folder: RunFolder, other: DataInfo) -> None:
    info = folder.data_info()
    if other.dim != info.dim:
        raise DataError(
            f"the run {folder.path} was fitted on '{info.name}' with {info.dim} features per "
            f"frame, and '{other.name}' has {other.dim}; give data of the same kind"
        )
    if other.kind == "real" and info.kind != "real":
        raise DataError(
            f"the run {folder.path} was fitted on {info.kind} data in [0,1], and '{other.name}' "
            "has values outside; rescale it into [0,1] or binarise it"
        )
