"""The weights that a checkpoint keeps: those that are evaluated, and not those in training."""

from __future__ import annotations

from pathlib import Path

from pyrodgm.objectives import Objective
from pyrodgm.storage import checkpoint
from pyrodgm.train.loop import pair_of


def read_kept(folder: Path, objective: Objective) -> None:
    """Load a checkpoint into an objective: averaged weights of model and guide, where there are.

    Args:
        folder: the checkpoint.
        objective: of the same classes and sizes.

    Raises:
        CheckpointError: missing, damaged, or of another objective.
    """
    checkpoint.read_weights(folder, {"objective": objective})
    if checkpoint.read_state(folder)["num_averaged"] is not None:
        checkpoint.read_weights(folder, {"averaged": pair_of(objective)})
