"""Everything that training recorded, over its steps, such as the numbers of a game."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pyrodgm.storage.files import read_records

COLUMNS, WIDTH, HEIGHT = 3, 3.4, 2.4
NOT_SHOWN = ("step", "seconds", "lr", "score", "chosen_by", "best", "restart", "warnings")
VALID, WEIGHTED = "valid_", "_sequence_weighted"  # the other weighting is shown
TRAINING_COLOUR, VALIDATION_COLOUR = "#9bbfdd", "#2a7ab9"


def recorded_curves(metrics: Path, first: str) -> Figure | None:
    """A panel for every number of `metrics.jsonl`, on training batches and on validation.

    Args:
        metrics: the file.
        first: the number that comes first.

    Returns:
        None if nothing was recorded.
    """
    records = read_records(metrics)
    keys = dict.fromkeys((first, *(k.removeprefix(VALID) for each in records for k in each)))
    wanted = [key for key in keys if key not in NOT_SHOWN and not key.endswith(WEIGHTED)]
    shown = [key for key in wanted if _there(records, key)]
    if not shown:
        return None
    columns = min(COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * lines + 0.3), layout="constrained")
    panels = list(figure.subplots(lines, columns, squeeze=False, sharex=True).flat)
    for ax, key in zip(panels, shown, strict=False):
        for name, colour, label in (
            (key, TRAINING_COLOUR, "training batches"),
            (VALID + key, VALIDATION_COLOUR, "validation"),
        ):
            if points := _points(records, name):
                mark = "o" if len(points) == 1 else ""  # a line of one point is not seen
                ax.plot(
                    *zip(*points, strict=True), marker=mark, color=colour, lw=1.3, ms=4, label=label
                )
        ax.set_title(key.replace("_", " "), fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    for ax in panels[len(shown) :]:
        ax.set_axis_off()
    for ax in panels[max(0, len(shown) - columns) : len(shown)]:
        ax.set_xlabel("training step", fontsize=8)
        ax.tick_params(labelbottom=True)
    handles = {
        label: line
        for ax in panels
        for line, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _there(records: list[dict[str, Any]], key: str) -> bool:
    return bool(_points(records, key) or _points(records, VALID + key))


def _points(records: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """Steps and finite values of a number."""
    found = ((each["step"], each.get(key)) for each in records)
    return [(step, x) for step, x in found if isinstance(x, int | float) and math.isfinite(x)]
