"""Which objective does a run folder hold, of which classes, and which files are its data?"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import ChangedWarning, ConfigError, RunFolderError, UsageError
from pyrodgm.objectives import Objective
from pyrodgm.setup.build import build_objective
from pyrodgm.setup.config import RunConfig, resolve
from pyrodgm.setup.userfile import described
from pyrodgm.storage.folder import RunFolder
from pyrodgm.storage.toml import Values, read_toml


def read_config(folder: RunFolder) -> RunConfig | None:
    """The configuration of a run folder; None where it was fitted from Python objects."""
    return resolved(folder, read_toml(folder.config))


def resolved(folder: RunFolder, values: Values) -> RunConfig | None:
    """The configuration that the values of a run folder make; None without a model.

    Raises:
        RunFolderError: another version wrote the folder, and its options are no longer these.
    """
    if "model" not in values:
        return None
    try:
        return resolve(values)
    except ConfigError as error:
        then = folder.read_environment()["versions"] if folder.environment.is_file() else {}
        wrote, now = then.get("pyrodgm"), version("pyrodgm")
        if wrote in (None, now):
            raise
        raise RunFolderError(
            f"{folder.path} was fitted by pyrodgm {wrote}, which reads it; this is {now}, whose "
            f"options are others ({error})"
        ) from error


def full_config(folder: RunFolder, config: RunConfig | None) -> RunConfig:
    """The configuration that an objective can be built from.

    Raises:
        RunFolderError: there is none.
    """
    if config is None:
        raise RunFolderError(
            f"{folder.path} was fitted from Python objects; load it in Python and give them again: "
            f"Run.load({str(folder.path)!r}, objective=..., splits=...); the splits only where the "
            "data is needed"
        )
    return config


def made_objective(
    folder: RunFolder, config: RunConfig | None, objective: Objective | None, info: DataInfo
) -> Objective:
    """The objective of a run: as given, else built from its configuration.

    Raises:
        RunFolderError: the run has no full configuration, and none is given.
    """
    if objective is not None:
        return objective
    return build_objective(full_config(folder, config), info)


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
