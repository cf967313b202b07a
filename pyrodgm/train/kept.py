"""Contents of a checkpoint: evaluated weights, weights in training, and training state."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from pyrodgm.errors import CheckpointError
from pyrodgm.objectives import Objective
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.loop import evaluated


def read_kept(folder: Path, objective: Objective) -> None:
    """Load a checkpoint into an objective, with averaged weights where it has them.

    Args:
        folder: the checkpoint.
        objective: of the same classes and sizes.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, of another objective or of an older
            version.
    """
    averaged = read_state(folder)["num_averaged"] is not None
    read_weights(folder, {"objective": objective})
    if averaged:
        read_weights(folder, {"averaged": evaluated(objective)})


def read_weights(folder: Path, weights: dict[str, nn.Module]) -> None:
    """Load the tensors of a checkpoint into modules.

    Raises:
        CheckpointError: as `storage.checkpoint.read_weights`; says which version wrote the
            checkpoint if it was another one.
    """
    try:
        checkpoint.read_weights(folder, weights)
    except CheckpointError as error:
        wrote, now = _written_by(folder), version("pyrodgm")
        if wrote == now:
            raise
        raise CheckpointError(
            f"{folder} was written by pyrodgm {wrote}; use that version to read it. This is {now}, "
            f"which cannot: {error}"
        ) from error


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of an older version.
    """
    state = checkpoint.read_state(folder)
    if "own" not in state:
        raise CheckpointError(
            f"{folder} was written by pyrodgm {_written_by(folder)}; use that version to read it. "
            f"This is {version('pyrodgm')}, whose checkpoints have another content"
        )
    return state


def _written_by(folder: Path) -> str:
    """The version of pyrodgm that wrote a checkpoint; the first ones did not say."""
    run = RunFolder(folder.parents[1])
    known = run.made_with["versions"] if run.environment.is_file() else {}
    return known.get("pyrodgm", "0.1.0")
