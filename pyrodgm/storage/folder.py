"""The run folder: paths of its files, and writing them so that a kill loses nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shlex
import shutil
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from pyrodgm.access import access_in_words, is_denied, without_permission
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import CheckpointError, RunFolderError, UsageError
from pyrodgm.storage.environment import LACKING, described
from pyrodgm.storage.files import (
    Temporary,
    alone,
    copy_folder,
    read_records,
    write_arrays,
    write_text,
)
from pyrodgm.storage.toml import Values, read_toml


class RunFolder:
    """Paths and files of one run.

    Args:
        path: the folder; see `create` and `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = Temporary.of(path)
        self.config = path / "config.toml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.trivial = path / "trivial.safetensors"
        self.results = path / "results.json"
        self.checkpoints = path / "checkpoints"
        self.best_pointer = path / "best"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new, empty run folder.

        Raises:
            RunFolderError: the folder is not empty, or cannot be made.
        """
        cls.check_free(path)
        folder = cls(path)
        try:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot make the folder {path}: {error.strerror}") from error
        return folder

    @classmethod
    def create_next(cls, parent: Path, stem: str) -> RunFolder:
        """A new run folder at the first free name of stem-001, stem-002, ...

        Raises:
            RunFolderError: it cannot be made.
        """
        try:
            parent.mkdir(parents=True, exist_ok=True)
            return cls.create(_claim(parent / f"{stem}-{n:03d}" for n in itertools.count(1)))
        except OSError as error:
            raise RunFolderError(f"cannot make a folder in {parent}: {error.strerror}") from error

    @staticmethod
    @access_in_words(RunFolderError)
    def check_free(path: Path) -> None:
        """Raise unless a run folder could be made at this path.

        Raises:
            RunFolderError: the folder is not empty.
        """
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path} is not a directory; choose another --out")
        if path.exists() and not all(map(_left_by_a_start, path.iterdir())):
            is_run = RunFolder(path).config.is_file()
            hint = (
                f", or continue that run with --resume {shlex.quote(str(path))}" if is_run else ""
            )
            raise RunFolderError(
                f"{path} already exists and is not empty; choose another --out{hint}"
            )

    @classmethod
    @access_in_words(RunFolderError)
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            RunFolderError: it is missing, or is not a run folder.
        """
        folder = cls(path)
        if not path.is_dir():
            raise RunFolderError(f"there is no run folder {path}; `pyrodgm fit` makes one")
        if not folder.config.is_file():
            raise RunFolderError(f"{path} is not a run folder: it has no {folder.config.name}")
        return folder

    def begin(self, text: str) -> None:
        """Write the configuration of a new run.

        Raises:
            RunFolderError: another process has written one in the meantime.
            CheckpointError: the disk is full or not writable.
        """
        if self.config.exists():
            raise RunFolderError(f"another run has begun in {self.path}; choose another --out")
        self.write_config(text)

    def delete_with_last_reference(self) -> None:
        """Delete the folder once this object and its copies are gone, unless it is pickled."""
        self._temporary = Temporary(self.path)

    def copy_to(self, path: Path) -> None:
        """Copy everything, or nothing, to a free path.

        Raises:
            RunFolderError: the path is not free, another process trains in this folder, or it
                cannot be copied.
        """
        self.check_free(path)
        with alone(self.path):
            copy_folder(self.path, path)

    def write_environment(
        self, splits: Splits, device: str, pieces: dict[str, dict[str, Any]]
    ) -> None:
        """Write versions, machine, facts and digest of the data, and classes."""
        environment = described(splits, device, pieces)
        write_text(self.environment, json.dumps(environment, indent=2))
        for name in ("made_with", "info"):
            self.__dict__.pop(name, None)

    def write_config(self, text: str) -> None:
        """Replace the configuration."""
        write_text(self.config, text)
        self.__dict__.pop("values", None)

    @cached_property
    def values(self) -> Values:
        """The values of the configuration, by group; read once.

        Raises:
            ConfigError: it cannot be read, or is damaged.
        """
        return read_toml(self.config)

    @cached_property
    def made_with(self) -> dict[str, Any]:
        """The values written by `write_environment`; read once.

        Raises:
            RunFolderError: it is missing or damaged.
        """
        try:
            environment = json.loads(self.environment.read_text(encoding="utf-8"))
            DataInfo.from_dict(environment["data"])
            return {**LACKING, **environment}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, OSError) and is_denied(error):
                raise RunFolderError(without_permission(error)) from error
            raise RunFolderError(
                f"{self.environment} is missing or damaged ({error}); the facts of the data are "
                "lost without it: start a new run"
            ) from error

    @cached_property
    def info(self) -> DataInfo:
        """The facts of the data that the run was fitted on."""
        return DataInfo.from_dict(self.made_with["data"])

    def needs(self, path: Path) -> bool:
        """Whether a file, given by its resolved path, is part of the run."""
        own = (self.config, self.environment, self.metrics, self.best_pointer)
        within = path.is_relative_to(self.checkpoints.resolve())
        return within or path in [each.resolve() for each in own]

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise _unwritable(self.metrics, error) from error

    def truncate_metrics(self, step: int) -> None:
        """Remove the lines of steps after `step`, which a resumed run will write again."""
        if self.metrics.exists():
            lines = read_records(self.metrics)
            kept = [record for record in lines if record.get("step", math.inf) <= step]
            write_text(self.metrics, "".join(f"{json.dumps(record)}\n" for record in kept))

    def has_evaluation(self, step: int) -> bool:
        """Whether `metrics.jsonl` has the evaluation at a step."""
        lines = read_records(self.metrics)
        return any(record.get("step") == step and "best" in record for record in lines)

    def checkpoint(self, step: int) -> Path:
        """Path of the checkpoint of a step."""
        return self.checkpoints / f"step-{step:08d}"

    def _checkpoints(self) -> list[Path]:
        """All checkpoints, the oldest first. A glob would hide errors of missing permissions."""
        if not self.checkpoints.is_dir():
            return []
        return sorted(p for p in self.checkpoints.iterdir() if p.name.startswith("step-"))

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self._checkpoints())

    def latest(self) -> Path:
        """The newest checkpoint.

        Raises:
            CheckpointError: there is none.
        """
        if not (found := self._checkpoints()):
            raise CheckpointError(
                f"{self.path} holds no checkpoint yet: training has not reached its first "
                f"evaluation; {self.how_to_resume()}, or train again with other options"
            )
        return found[-1]

    def how_to_resume(self) -> str:
        """A hint with the command that continues the run."""
        if "model" in self.values:
            return f"continue with: pyrodgm fit --resume {shlex.quote(str(self.path))}"
        return f"continue with: pyrodgm.resume({str(self.path)!r}, objective=..., splits=...)"

    def best(self) -> Path:
        """The checkpoint with the best validation score; the newest one if there is none."""
        if self.best_pointer.is_file():
            name = self.best_pointer.read_text(encoding="utf-8").strip()
            if name and (self.checkpoints / name).is_dir():
                return self.checkpoints / name
        return self.latest()

    def mark_best(self, step: int) -> None:
        """Point `best` to the checkpoint of a step."""
        write_text(self.best_pointer, self.checkpoint(step).name + "\n")

    def prune(self) -> None:
        """Delete all checkpoints but the best and the two newest, of which one may be damaged."""
        found = self._checkpoints()
        for path in found:
            if path not in (self.best(), *found[-2:]):
                dropped = path.rename(path.with_name(f".{path.name}.dropped"))
                shutil.rmtree(dropped, ignore_errors=True)

    def save_batch(self, batch: Batch, step: int, process: int = 0) -> Path:
        """Save the batch on which training failed, for inspection.

        Raises:
            CheckpointError: the disk is full or not writable.
        """
        path = self.path / f"nonfinite-batch-{step}-{process}.npz"
        parts = {
            name: getattr(batch, name) for name in ("x", "mask", "index", "seen", "conditions")
        }
        arrays = {name: part.cpu().numpy() for name, part in parts.items() if part is not None}
        try:
            write_arrays(path, arrays)
        except UsageError as error:
            raise CheckpointError(str(error)) from error
        return path


def _claim(paths: Iterable[Path]) -> Path:
    """Make the first folder that does not exist; safe if other runs start at the same time."""
    for path in paths:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("the paths never end")


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"cannot write {path}: {error.strerror}. The checkpoints are intact; make room and "
        "continue with --resume"
    )


def _left_by_a_start(entry: Path) -> bool:
    """Whether a run that was stopped before it had a configuration leaves such an entry."""
    if entry.is_dir():
        return entry.name == "checkpoints" and not any(entry.iterdir())
    return ".partial" in entry.suffixes
