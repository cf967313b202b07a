"""Loading from a run folder: its configuration, its objective and its data."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrodgm.arguments import as_path
from pyrodgm.data import DATASETS, find_loader, idx, is_sound, load, local, recordings
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.data.evaluation_files import read_evaluation
from pyrodgm.errors import (
    ChangedWarning,
    ConfigError,
    DataError,
    DataWarning,
    MissingDataError,
    RunFolderError,
    UsageError,
)
from pyrodgm.objectives import Objective
from pyrodgm.setup.build import build_data, build_objective
from pyrodgm.setup.config import Component, RunConfig, resolve
from pyrodgm.setup.dry_run import check_objective
from pyrodgm.setup.userfile import described
from pyrodgm.storage.folder import RunFolder
from pyrodgm.storage.toml import Values


def resolved(folder: RunFolder, values: Values) -> RunConfig | None:
    """The configuration of a run; None if it was fitted from Python objects.

    Args:
        folder: of the run.
        values: of its configuration.

    Raises:
        RunFolderError: another version with other options wrote the folder.
    """
    if "model" not in values:
        return None
    try:
        return resolve(values)
    except ConfigError as error:
        then = folder.made_with["versions"] if folder.environment.is_file() else {}
        wrote, now = then.get("pyrodgm"), version("pyrodgm")
        if wrote in (None, now):
            raise
        raise RunFolderError(
            f"{folder.path} was fitted by pyrodgm {wrote}; use that version to read it. This is "
            f"{now}, which has other options ({error})"
        ) from error


def full_config(folder: RunFolder, config: RunConfig | None) -> RunConfig:
    """The configuration from which an objective can be built.

    Raises:
        RunFolderError: there is none.
    """
    if config is None:
        raise RunFolderError(
            f"{folder.path} was fitted from Python objects; load it in Python and give them again: "
            f"Run.load({str(folder.path)!r}, objective=..., splits=...); splits are needed only if "
            "the data is used"
        )
    return config


def made_objective(
    folder: RunFolder, config: RunConfig | None, objective: Objective | None, info: DataInfo
) -> Objective:
    """The objective of a run: as given, else built from its configuration.

    Raises:
        RunFolderError: the run has no full configuration, and none is given.
        UsageError: what is given is not an objective.
    """
    if objective is not None:
        check_objective(objective)
        return objective
    return build_objective(full_config(folder, config), info)


def check_same_pieces(folder: RunFolder, objective: Objective) -> None:
    """Raise if a run was fitted with other classes; warn of other options or changed files.

    Raises:
        RunFolderError: the classes differ.

    Warns:
        ChangedWarning: options differ, or the file of a class has changed.
    """
    before, now = folder.made_with["pieces"], described(objective)
    for role in before:
        then, given = before[role]["class"], now[role]["class"]
        if then != given:
            raise RunFolderError(
                f"{folder.path} was fitted with the {role} {then}, but {given} was given; give the "
                "same one"
            )
        _check_same_options(folder, role, before[role].get("options", {}), now[role]["options"])
        if before[role].get("sha256") != now[role].get("sha256"):
            warnings.warn(
                f"the file of the {role} {given} has changed since {folder.path} was fitted, so "
                "results may differ",
                ChangedWarning,
                stacklevel=3,
            )


def _check_same_options(
    folder: RunFolder, role: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Compare the options of a piece with those of the fit, as far as both are known."""
    changed = [name for name in before.keys() & now.keys() if before[name] != now[name]]
    if not changed:
        return
    each = ", ".join(f"{n}={before[n]!r}, and {now[n]!r} was given" for n in sorted(changed))
    words = f"the {role} of {folder.path} was fitted with {each}; give the same, or results differ"
    warnings.warn(words, ChangedWarning, stacklevel=4)


def own_data(folder: RunFolder, config: RunConfig | None) -> Splits:
    """The data that a run was fitted on, from its original place.

    Raises:
        MissingDataError: it is no longer there, or the run was fitted from Python objects.
    """
    if config is None:
        raise MissingDataError(
            f"{folder.path} was fitted from Python objects, but its data is needed here; give it "
            f"again: Run.load({str(folder.path)!r}, splits, objective=...)"
        )
    before = folder.made_with["data_sha256"] if folder.environment.is_file() else ""
    try:
        return build_data(config)
    except DataError as error:
        known = f" Its sha256 is {before}." if before else ""
        run = shlex.quote(str(folder.path))
        raise MissingDataError(
            f"the data that {folder.path} was fitted on is needed here: {error}.{known} If it has "
            f"moved, give its place with --data FILE, as in: pyrodgm evaluate {run} --data FILE; "
            f"or pyrodgm fit --resume {run} --data FILE; from Python, "
            f"Run.load({str(folder.path)!r}, 'FILE')"
        ) from error


def located(
    folder: RunFolder, config: RunConfig | None, source: str | Path
) -> tuple[Splits, RunConfig | None] | None:
    """The data that a run was fitted on, at another place, with an updated configuration.

    Args:
        folder: of the run.
        config: the old configuration.
        source: the other place.

    Returns:
        None if it is other data, by its sha256.
    """
    before = folder.made_with["data_sha256"]
    path = as_path(source, "the data").expanduser().resolve()
    if not before or str(source) in DATASETS or not path.exists():
        return None
    if path.is_file() and local.sha256(path) != before:
        return None
    data = Component(str(path), {}) if config is None else config.data
    if data.name not in DATASETS:
        data = Component(str(path), data.options)
    elif "path" in data.options:
        data = Component(data.name, {**data.options, "path": str(path)})
    splits = _loaded(data, path)
    if splits is None or splits.sha256 != before:
        return None
    if config is None and not is_own(folder, splits):
        raise DataError(
            f"{path} is the file that {folder.path} was fitted on, but it was split or read with "
            "other options there; give the splits instead of the file"
        )
    return splits, None if config is None else replace(config, data=data)


def _loaded(data: Component, path: Path) -> Splits | None:
    """Data at another place; None for a folder with other data than its loader expects.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        return load(data.name, **data.options)
    except (DataError, UsageError):
        if path.is_file():
            raise
        return None


def read_other(source: str | Path, info: DataInfo) -> EvaluationData:
    """Data that a run was not fitted on, prepared for its model.

    Args:
        source: the name of a dataset, or a file.
        info: facts of the data that the model was fitted on.

    Raises:
        UsageError: there is no such dataset.
        DataError: it cannot be read, or does not match the model.
    """
    loader, arguments = find_loader(source)
    if not arguments:
        return EvaluationData.of_splits(load(source), info)
    if loader is idx.read:
        given = {"labels": bool(info.classes)}
        given |= {"values": "sampled"} if info.kind == "binary" else {}
        return EvaluationData.of_splits(load(source, **given), info)
    sound = is_sound(Path(source).expanduser())
    found = recordings.read_evaluation(source, info) if sound else read_evaluation(source, info)
    if found.notes:
        warnings.warn(f"{found.info.name}: {'; '.join(found.notes)}", DataWarning, stacklevel=3)
    return found


def is_own(folder: RunFolder, splits: Splits) -> bool:
    """Whether these are the splits that a run was fitted on."""
    if not folder.environment.is_file():
        return True
    before = folder.made_with
    if not before["data_splits"]:  # a folder of an older version
        return splits.sha256 == before["data_sha256"]
    known = {name: each["sha256"] for name, each in before["data_splits"].items()}
    return all(
        known[name] in (local.content_sha256(part), local.content_sha256(part, beside=False))
        for name, part in splits.items()
    )
