"""Histograms of the numbers of many runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BINS = 30
WIDE = 100  # ratio of largest and smallest number from which the axis is logarithmic


def histograms(
    numbers: Mapping[str, Mapping[str, Sequence[float]]], marks: Mapping[str, float]
) -> Figure:
    """A column of histograms for every metric, one below the other with the same bins.

    Args:
        numbers: of all runs, by heading of the metric and by row of the table.
        marks: numbers that are marked by a line, by heading.
    """
    rows = list(dict.fromkeys(row for own in numbers.values() for row in own))
    size = (4.5 * len(numbers), 0.8 + 1.2 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(numbers), sharex="col", sharey=True, squeeze=False)
    for column, (heading, own) in enumerate(numbers.items()):
        every = np.concatenate([np.asarray(own[row], float) for row in own])
        bins = _bins(every)
        for ax, row in zip(grid[:, column], rows, strict=True):
            _draw(ax, own.get(row, ()), bins, marks.get(heading))
            ax.set_title(row, fontsize=9, loc="left")
        grid[-1, column].set_xlabel(heading)
        if _wide(every):
            grid[-1, column].set_xscale("log")
    for ax in grid[:, 0]:
        ax.set_ylabel("runs")
    return figure


def _draw(ax: Axes, values: Sequence[float], bins: np.ndarray, mark: float | None) -> None:
    ax.hist(values, bins=bins.tolist(), color="#4c72b0")
    if mark is not None:
        ax.axvline(mark, color="#555555", lw=1, ls="--")
    ax.spines[["top", "right"]].set_visible(False)


def _wide(values: np.ndarray) -> bool:
    return bool(values.size and values.min() > 0 and values.max() > WIDE * values.min())


def _bins(values: np.ndarray) -> np.ndarray:
    """Edges that hold all numbers."""
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    if _wide(values):
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high if high > low else low + 1, BINS + 1)
