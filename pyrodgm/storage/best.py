"""The weights of a run that another one starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder


def read_best(path: str | Path, pieces: Mapping[str, nn.Module]) -> None:
    """Load the best weights of a run, averaged ones if it has them, into modules.

    Args:
        path: the run folder.
        pieces: modules by name, "model" or "guide".

    Raises:
        RunFolderError: there is no such run.
        CheckpointError: it has no weights, or those of other classes or sizes.
    """
    best = RunFolder.open(Path(path).expanduser()).best()
    averaged = checkpoint.read_state(best).get("num_averaged") is not None
    whole = "averaged" if averaged else "objective"
    checkpoint.read_weights(best, {f"{whole}.{name}": piece for name, piece in pieces.items()})
