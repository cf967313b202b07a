"""Contents of a checkpoint: evaluated weights, weights in training, and training state."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyrodgm.errors import CheckpointError
from pyrodgm.objectives import Objective
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.loop import pair_of


def read_kept(folder: Path, objective: Objective) -> None:
    """Load a checkpoint into an objective, with averaged weights of model and guide if present.

    Args:
        folder: the checkpoint.
        objective: of the same classes and sizes.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, of another objective or of an older
            version.
    """
    averaged = read_state(folder)["num_averaged"] is not None
    checkpoint.read_weights(folder, {"objective": objective})
    if averaged:
        checkpoint.read_weights(folder, {"averaged": pair_of(objective)})


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing, damaged, or of an older version.
    """
    state = checkpoint.read_state(folder)
    if "own" not in state:
        run = RunFolder(folder.parents[1])
        known = run.made_with["versions"] if run.environment.is_file() else {}
        wrote = known.get("pyrodgm", "0.1.0")
        raise CheckpointError(
            f"{folder} was written by pyrodgm {wrote}; use that version to read it. This is "
            f"{version('pyrodgm')}, whose checkpoints have another content"
        )
    return state
