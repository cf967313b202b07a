"""The environment of a run: versions, machine, classes, and the facts of its data."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.local import content_sha256
from pyrodgm.data.remarks import remarks

PACKAGES = ("pyrodgm", "torch", "pyro-ppl", "lightning-fabric", "numpy", "arviz")
LACKING: dict[str, Any] = {  # values for keys that folders of older versions do not have
    "data_sha256": "",
    "data_splits": {},
    "data_notes": [],
    "pieces": {},
}


def described(splits: Splits, device: str, pieces: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Plain values, for JSON.

    Args:
        splits: the data.
        device: of training.
        pieces: the classes and options of model, guide and objective.
    """
    return {
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "data": splits.info.to_dict(),
        "data_sha256": splits.sha256,
        "data_splits": {name: _described(part) for name, part in splits.items()},
        "data_notes": list(remarks(splits)),
        "pieces": pieces,
    }


def _described(part: Sequences) -> dict[str, Any]:
    """Sizes and digest of a split."""
    digest = content_sha256(part)
    return {"sequences": len(part), "frames": part.num_frames, "sha256": digest}
