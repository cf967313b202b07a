"""Checkpoints of weights and training state: written atomically, read without running code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyrodgm.access import is_denied, without_permission
from pyrodgm.errors import CheckpointError

WEIGHTS = "weights.safetensors"
STATE = "state.pt"


def write(folder: Path, weights: dict[str, nn.Module], state: dict[str, Any]) -> None:
    """Write a checkpoint folder: under a temporary name, synced to disk, then renamed.

    Args:
        folder: path of the checkpoint; it must not exist yet.
        weights: modules by name; their tensors go into one safetensors file, the rest of their
            state, such as running averages of varying length, into the state file.
        state: plain values and tensors, readable with ``weights_only=True``.

    Raises:
        CheckpointError: the disk is full or not writable. Earlier checkpoints are untouched.
    """
    tensors, extra = _split({name: module.state_dict() for name, module in weights.items()})
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / WEIGHTS)
        torch.save({**state, "extra": extra}, temporary / STATE)
        shutil.copymode(temporary / STATE, temporary / WEIGHTS)  # safetensors: its owner's alone
        for path in (temporary / WEIGHTS, temporary / STATE, temporary):
            _sync(path)
        temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch raises RuntimeError
        shutil.rmtree(temporary, ignore_errors=True)
        free = shutil.disk_usage(_existing(folder)).free / 1e6
        raise CheckpointError(
            f"cannot write checkpoint {folder}: {error} ({free:.0f} MB free there). "
            "Earlier checkpoints are intact; make room and continue with --resume"
        ) from error


def read_weights(folder: Path, weights: dict[str, nn.Module]) -> None:
    """Load the tensors of a checkpoint into modules.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, or shapes differ.
    """
    try:
        (folder / WEIGHTS).open("rb").close()  # gives a clearer error for missing permissions
        tensors = load_file(folder / WEIGHTS)
        extra = read_state(folder)["extra"]
        for name, module in weights.items():
            own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if _of(k, name)}
            own |= {k.removeprefix(f"{name}."): v for k, v in extra.items() if _of(k, name)}
            _load(folder, module, own)
    except CheckpointError:
        raise
    except Exception as error:
        raise _unreadable(folder, error) from error


def _load(folder: Path, module: nn.Module, own: dict[str, Any]) -> None:
    try:
        module.load_state_dict(own)
    except RuntimeError as error:  # names or shapes
        raise CheckpointError(
            f"the weights in {folder} belong to another model, guide or objective, or to other "
            f"sizes; give those that were fitted ({_difference(own, module.state_dict())})"
        ) from error


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """How the weights of a checkpoint differ from those of a module, in words."""
    both = sorted(there.keys() & here.keys())
    shapes = {k: (getattr(there[k], "shape", None), getattr(here[k], "shape", None)) for k in both}
    found = {
        "only in the checkpoint": sorted(there.keys() - here.keys()),
        "missing from it": sorted(here.keys() - there.keys()),
        "of another shape": [
            f"{k} ({tuple(old)}, not {tuple(new)})"
            for k, (old, new) in shapes.items()
            if old is not None and new is not None and old != new
        ],
    }
    return "; ".join(f"{what}: {_some(names)}" for what, names in found.items() if names)


def _some(names: list[str], shown: int = 4) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def read_state(folder: Path) -> dict[str, Any]:
    """The training state of a checkpoint, read without unpickling any code.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        return torch.load(folder / STATE, weights_only=True, map_location="cpu")
    except Exception as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> CheckpointError:
    if isinstance(error, OSError) and is_denied(error):
        return CheckpointError(f"cannot read checkpoint {folder}: {without_permission(error)}")
    return CheckpointError(
        f"cannot read checkpoint {folder}: it is damaged. Remove "
        f"that folder to continue from the newest of the others\n  ({error})"
    )


def _of(key: str, name: str) -> bool:
    return key.startswith(f"{name}.")


def _split(states: dict[str, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, which safetensors can store, and everything else; keys are prefixed by the name."""
    flat = {
        f"{name}.{key}": value for name, state in states.items() for key, value in state.items()
    }
    # Copies, since safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        key: value.detach().to("cpu", copy=True).contiguous()
        for key, value in flat.items()
        if torch.is_tensor(value)
    }
    return tensors, {key: value for key, value in flat.items() if key not in tensors}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
