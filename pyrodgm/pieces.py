"""Which objective and which data does a run folder hold?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, resolve
from pyrodgm.data import DATASETS, load
from pyrodgm.data.base import Splits
from pyrodgm.errors import ChangedWarning, DataError, RunFolderError, UsageError
from pyrodgm.folder import RunFolder
from pyrodgm.objectives import Objective
from pyrodgm.settings import read_toml
from pyrodgm.userfile import digest


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
            f"Run.load({str(folder.path)!r}, objective=..., splits=...)"
        )
    if splits is None:
        splits = build_data(cast("RunConfig", config))
    if objective is None:
        info = folder.data_info() if folder.environment.is_file() else splits.info
        objective = build_objective(cast("RunConfig", config), info)
    return objective, splits


def described(objective: Objective) -> dict[str, dict[str, str]]:
    """Which classes an objective is made of, by role, with digests of a person's own files."""
    parts = {"model": objective.model, "guide": objective.guide, "objective": objective}
    found = {}
    for role, part in parts.items():
        own = digest(type(part))
        found[role] = {"class": type(part).__qualname__, **({"sha256": own} if own else {})}
    return found


def check_same_pieces(folder: RunFolder, objective: Objective) -> None:
    """Raise where a run was fitted with other classes; warn where their files have changed since.

    Raises:
        RunFolderError: it was.
    """
    before, now = folder.read_environment()["pieces"], described(objective)
    for role in before:
        then, given = before[role]["class"], now[role]["class"]
        if then != given:
            raise RunFolderError(
                f"{folder.path} was fitted with the {role} {then}, and {given} is given; give the "
                "same one"
            )
        if before[role].get("sha256") != now[role].get("sha256"):
            warnings.warn(
                f"the file of the {role} {given} has changed since {folder.path} was fitted, and "
                "what is computed now may differ",
                ChangedWarning,
                stacklevel=3,
            )


def data_for(folder: RunFolder, splits: Splits, *, other: bool) -> Splits:
    """Data as the model of a run takes it: of its size, its values of the same kind, and gaps
    holding the means that it was fitted with.

    Args:
        folder: of the run.
        splits: the data.
        other: whether it is meant to be other data; if not, and it is, there is a warning.

    Raises:
        DataError: it is of another size or kind.
    """
    info, given = folder.data_info(), splits.info
    if given.dim != info.dim:
        raise DataError(
            f"the run {folder.path} was fitted on '{info.name}' with {info.dim} features per "
            f"frame, and '{given.name}' has {given.dim}; give data of the same kind"
        )
    if not other and splits.sha256 != folder.read_environment()["data_sha256"]:
        words = (
            f"the data of {folder.path} has changed since it was fitted; numbers are of other data"
        )
        warnings.warn(words, ChangedWarning, stacklevel=3)
    if (info.kind, given.kind) == ("binary", "unit"):
        return splits.placed(info)  # grey values score by cross-entropy
    try:
        splits = splits if given.kind == info.kind else splits.taken_for(info.kind)
    except DataError as error:
        raise DataError(
            f"the run {folder.path} was fitted on {info.kind} data, and '{given.name}' has "
            f"{given.kind} values: {error}"
        ) from error
    splits = splits.with_symbols_of(info) if info.kind == "categorical" else splits
    return splits.placed(info)


def load_like(folder: RunFolder, source: str | Path) -> Splits:
    """Another dataset, read as the run's own was where both are files.

    So a file of which sequences are held out by a seed is cut in the same place, and its values
    are taken for the same kind.

    Args:
        folder: of the run.
        source: a dataset's name or a file, as `pyrodgm.data.load` takes it.
    """
    config = read_config(folder)
    both_files = config is not None and not {str(source), config.data.name} & set(DATASETS)
    return load(source, **(config.data.options if config and both_files else {}))


def refuse_to_replace(path: Path, folder: RunFolder, *sources: str | None) -> None:
    """Raise where a file to be written is data, that of a run or another, or a part of the run.

    Args:
        path: to be written.
        folder: of the run.
        sources: other data that is read, as `pyrodgm.data.load` takes it.

    Raises:
        UsageError: it is.
    """
    config = read_config(folder)
    if config is not None:
        sources = (*sources, config.data.name, config.data.options.get("path"))
    target = path.expanduser().resolve()
    if folder.needs(target):
        raise UsageError(
            f"{path} is a file that the run {folder.path} cannot do without; give another file to "
            "write"
        )
    if any(source and Path(source).expanduser().resolve() == target for source in sources):
        raise UsageError(f"{path} is data that is read here; give another file to write")
