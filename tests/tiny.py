"""Data and configurations that fit in a tenth of a second."""

import json
from pathlib import Path
from typing import Any

import numpy as np

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
