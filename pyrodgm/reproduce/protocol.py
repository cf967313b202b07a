"""Under which protocol is a cell trained? The published one, and ours."""

from __future__ import annotations

from typing import Any

ITERATIONS = 100_000

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


def published(**fit: Any) -> dict[str, Any]:
    """Groups of a configuration under the published protocol.

    Args:
        fit: options of training that this table has otherwise.
    """
    return {"objective": dict(PUBLISHED_OBJECTIVE), "fit": {**PUBLISHED_FIT, **fit}}


def quick(**data: Any) -> dict[str, dict[str, Any]]:
    """What the small version changes: a minute of training, and fewer data where that is given."""
    return {"fit": dict(QUICK_FIT), **({"data": data} if data else {})}
