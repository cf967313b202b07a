"""Under which protocol is a cell trained? The published one, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyrodgm.reproduce.table import config

ITERATIONS = 100_000

START = {"init_scale": 1e-3}
PUBLISHED_OBJECTIVE = {"name": "nvil", "signal": "local", "particles": 1}

# One randomly chosen whole sequence per iteration, centred RMSprop, no validation: the weights that
# count are the last. Deviations: biases of the first frames and of the baseline network.
PUBLISHED_FIT = {
    "optimizer": "rmsprop",
    "lr": 1e-4,
    "weight_decay": 1e-4,
    "per_frame": True,
    "batch_size": 1,
    "averaging": 0.0,
    "lr_decay": 1.0,
    "steps": ITERATIONS,
    "evaluate_every": ITERATIONS,
}

QUICK_SECONDS = 60.0
QUICK_FIT = {"time_limit": QUICK_SECONDS, "evaluate_every": 200}


def published(
    model: str,
    source: str,
    options: Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None = None,
    guide: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    fit: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """A configuration under the published protocol.

    Args:
        model: name of the model.
        source: name of the dataset.
        options: of the model.
        data: of the dataset.
        guide: of the guide.
        objective: of the objective, where they differ from the usual ones of the paper.
        fit: of training, where they differ.
    """
    return config(
        model,
        source,
        options={**options, **START},
        data=data,
        guide={**(guide or {}), **START},
        objective={**PUBLISHED_OBJECTIVE, **(objective or {})},
        fit={**PUBLISHED_FIT, **(fit or {})},
    )


def quick(**data: Any) -> dict[str, dict[str, Any]]:
    """What the small version changes: a minute of training, and fewer data where that is given."""
    return {"fit": dict(QUICK_FIT), **({"data": data} if data else {})}
