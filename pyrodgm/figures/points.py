"""Rows of a few real numbers as points in the plane."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c9c9c9")
SHOWN = 2000  # points of each set


def scatter(sets: Mapping[str, np.ndarray]) -> Figure:
    """Sets of points, by the two features that vary most in the last set; the first is on top.

    With one feature, points lie on a line.

    Args:
        sets: points (N, D) by their labels.
    """
    across, up = axes_of(list(sets.values())[-1])
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    ax = figure.subplots()
    for order, ((label, x), colour) in enumerate(zip(sets.items(), COLOURS, strict=False)):
        shown = x[:SHOWN]
        ax.scatter(shown[:, across], shown[:, up], s=4, color=colour, label=label, zorder=3 - order)
    ax.set_xlabel(f"feature {across}")
    ax.set_ylabel(f"feature {up}")
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def axes_of(x: np.ndarray) -> tuple[int, int]:
    """The two features that vary most, in ascending order; a single feature is repeated.

    >>> axes_of(np.array([[0.0, 1.0, 3.0], [0.1, 2.0, 9.0]]))
    (1, 2)
    """
    most = np.sort(np.argsort(-np.nanstd(x, 0), kind="stable")[:2])
    return int(most[0]), int(most[-1])
