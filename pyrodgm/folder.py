"""The run folder: where each file is, and how it is written so that a kill loses nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import CheckpointError, RunFolderError

_PACKAGES = ("pyrodgm", "torch", "pyro-ppl", "lightning-fabric", "numpy", "arviz")


class RunFolder:
    """Paths and files of one run.

    Args:
        path: the folder; see `create` and `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.results = path / "results.json"
        self.checkpoints = path / "checkpoints"
        self.best_pointer = path / "best"

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """A new, empty run folder.

        Raises:
            RunFolderError: there is something in it already.
        """
        cls.check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        folder.checkpoints.mkdir(exist_ok=True)
        return folder

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise unless a run folder could be made at this path.

        Raises:
            RunFolderError: there is something in it already.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunFolderError(
                f"{path} already exists and is not empty; choose another --out, "
                f"or continue that run with --resume {path}"
            )

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run folder that exists.

        Raises:
            RunFolderError: it is missing or is no run folder.
        """
        folder = cls(path)
        if not path.is_dir():
            raise RunFolderError(f"there is no run folder {path}; `pyrodgm fit` makes one")
        if not folder.environment.is_file():
            raise RunFolderError(f"{path} is not a run folder: it has no {folder.environment.name}")
        return folder

    def write_environment(self, splits: Splits, device: str) -> None:
        """What the run was made with: versions, machine, and the facts and digest of the data."""
        environment = {
            "versions": {name: version(name) for name in _PACKAGES}
            | {"python": platform.python_version()},
            "platform": platform.platform(),
            "device": device,
            "threads": torch.get_num_threads(),
            "command": sys.argv,
            "data": splits.info.to_dict(),
            "data_sha256": splits.sha256,
        }
        write_text(self.environment, json.dumps(environment, indent=2))

    def read_environment(self) -> dict[str, Any]:
        """What `write_environment` wrote.

        Raises:
            RunFolderError: it is damaged.
        """
        try:
            return json.loads(self.environment.read_text())
        except ValueError as error:
            raise RunFolderError(f"{self.environment} is damaged: {error}") from error

    def data_info(self) -> DataInfo:
        """The facts of the data that the run was fitted on."""
        return DataInfo.from_dict(self.read_environment()["data"])

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines of steps after `step`, which a resumed run will write again."""
        if self.metrics.exists():
            lines = [line for line in self.metrics.read_text().splitlines() if _step(line) <= step]
            write_text(self.metrics, "".join(f"{line}\n" for line in lines))

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.checkpoints / f"step-{step:08d}"

    def latest(self) -> Path:
        """The newest checkpoint.

        Raises:
            CheckpointError: there is none.
        """
        found = sorted(self.checkpoints.glob("step-*"))
        if not found:
            raise CheckpointError(f"{self.path} holds no checkpoint yet; start the run anew")
        return found[-1]

    def best(self) -> Path:
        """The checkpoint that did best on validation; the newest one where none was chosen yet."""
        if not self.best_pointer.is_file():
            return self.latest()
        return self.checkpoints / self.best_pointer.read_text().strip()

    def mark_best(self, step: int) -> None:
        """Point `best` to the checkpoint of a step."""
        write_text(self.best_pointer, self.checkpoint(step).name + "\n")

    def prune(self) -> None:
        """Delete all checkpoints but the best and the newest."""
        keep = {self.best(), self.latest()}
        for path in self.checkpoints.glob("step-*"):
            if path not in keep:
                shutil.rmtree(path)

    def save_batch(self, batch: Batch, step: int) -> Path:
        """Keep a batch that training failed on, for a look at it."""
        path = self.path / f"nonfinite-batch-{step}.npz"
        arrays = {name: getattr(batch, name).cpu().numpy() for name in ("x", "mask", "index")}
        np.savez_compressed(path, **arrays)
        return path


def next_free(parent: Path, stem: str) -> Path:
    """The first of stem-001, stem-002, ... that is not taken."""
    number = 1
    while (path := parent / f"{stem}-{number:03d}").exists():
        number += 1
    return path


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing.

    Raises:
        CheckpointError: the disk is full or not writable.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error}") from error


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return sys.maxsize  # a line cut short by a kill
