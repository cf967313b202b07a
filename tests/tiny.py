"""Data and configurations that fit in a tenth of a second."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from pyrodgm import Run
from pyrodgm.data import Sequences

# What a bound says of itself in JSON.
BOUND_FIELDS = {
    "estimator",
    "particles",
    "nats_per_example",
    "standard_error_nats_per_example",
    "nats_per_frame",
    "standard_error_nats_per_frame",
    "nats_per_frame_sequence_weighted",
    "standard_error_nats_per_frame_sequence_weighted",
    "examples",
    "frames",
}

TINY_FIT = {"steps": 12, "evaluate_every": 5, "batch_size": 8}


@contextmanager
def blank_figures() -> Iterator[None]:
    """Figures are written blank, which takes no time: for tests of what is around them."""
    from matplotlib.figure import Figure

    def blank(_: Figure, out: Any, **options: Any) -> None:
        Image.new("L", (1, 1)).save(out, options["format"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        yield


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Everything in an npz file, which is closed again."""
    with np.load(path) as file:
        return dict(file)


def ragged(dim: int = 6, kind: str = "binary", train: int = 24) -> dict[str, np.ndarray]:
    """Arrays of a small ragged dataset."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", train), ("valid", 6), ("test", 6)):
        lengths = rng.integers(3, 9, count)
        shape = (lengths.sum(), dim)
        draws = {
            "binary": lambda shape=shape: (rng.random(shape) < 0.3).astype(np.uint8),
            "unit": lambda shape=shape: rng.random(shape, np.float32),
            "count": lambda shape=shape: rng.poisson(2.0, shape).astype(np.uint16),
            "real": lambda shape=shape: rng.normal(size=shape).astype(np.float32),
        }
        arrays |= {split: draws[kind](), f"{split}_lengths": lengths}
    return arrays


def tiny_values(data: Path, **fit: Any) -> dict[str, dict[str, Any]]:
    """Values of a configuration that fits in a tenth of a second."""
    return {
        "model": {"hidden_dim": 3},
        "data": {"source": str(data)},
        "fit": {**TINY_FIT, **fit},
    }


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def global_state() -> list[Any]:
    """Where the random number generators stand that a whole process shares."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    name, keys, *place = np.random.get_state()  # noqa: NPY002
    everywhere = [state.tolist() for state in (torch.get_rng_state(), *gpus)]
    return [everywhere, [name, keys.tolist(), *place], random.getstate()]


def plain(value: Any) -> Any:
    """Everything random in a value, as something that can be compared."""
    if isinstance(value, Run):
        return plain(value.objective.state_dict())
    if isinstance(value, xr.DataTree):
        return {group.path: plain(dict(group.data_vars)) for group in value.subtree}
    if torch.is_tensor(value) or isinstance(value, np.ndarray | xr.DataArray):
        return np.asarray(value).tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return plain(vars(value)) if isinstance(value, Sequences) else value
