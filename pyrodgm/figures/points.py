"""Rows of a few real numbers as points in the plane."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

COLOURS = ("#1f5fa8", "#c9c9c9")
PATH_COLOURS = ("#e08a1e", "#3a9a6b", "#7a5ea8", "#c8372d", "#222222")
SHOWN = 2000  # points of each set


def scatter(
    sets: Mapping[str, np.ndarray],
    *,
    modes: np.ndarray | None = None,
    radius: float = 0.0,
    paths: np.ndarray | None = None,
) -> Figure:
    """Sets of points, by the two features that vary most in the last set; the first is on top.

    With one feature, points lie on a line.

    Args:
        sets: points (N, D) by their labels.
        modes: known modes (M, D), drawn as circles.
        radius: of these circles.
        paths: lines (P, steps, D) with a dot at every step.
    """
    across, up = axes_of(list(sets.values())[-1])
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    ax = figure.subplots()
    colours = COLOURS if paths is None else COLOURS[::-1]
    for order, ((label, x), colour) in enumerate(zip(sets.items(), colours, strict=False)):
        shown = x[:SHOWN]
        ax.scatter(shown[:, across], shown[:, up], s=4, color=colour, label=label, zorder=3 - order)
    for x, y in () if modes is None else modes[:, [across, up]]:
        ax.add_patch(Circle((x, y), radius, fill=False, lw=0.7, color="#c8372d", zorder=4))
    for place, path in enumerate(() if paths is None else paths):
        colour = PATH_COLOURS[place % len(PATH_COLOURS)]
        ax.plot(path[:, across], path[:, up], "o-", lw=1, ms=3, color=colour, zorder=5)
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
