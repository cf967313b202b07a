"""What is a run made with? Versions, machine, data and classes."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from pyrodgm.data.base import Splits

_PACKAGES = ("pyrodgm", "torch", "pyro-ppl", "lightning-fabric", "numpy", "arviz")


def made_with(splits: Splits, device: str, pieces: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Plain values, for JSON.

    Args:
        splits: the data, of which the facts and the digest are told.
        device: where training runs.
        pieces: classes of model, guide and objective.
    """
    return {
        "versions": {name: version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "platform": platform.platform(),
        "device": device,
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "data": splits.info.to_dict(),
        "data_sha256": splits.sha256,
        "pieces": pieces,
    }
