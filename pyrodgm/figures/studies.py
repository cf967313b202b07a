"""The figure of a study: scores against time and against steps, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POINTS = 200  # of a mean curve


class Curves(NamedTuple):
    """Validation scores of one run, with the times and steps at which they were measured."""

    seconds: Sequence[float]
    steps: Sequence[float]
    scores: Sequence[float]


def study_curves(runs: Mapping[str, Sequence[Curves]]) -> Figure:
    """Scores against seconds and steps: the mean over seeds, and the range of all seeds as a band.

    Args:
        runs: the runs of every candidate, one for each seed.
    """
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    by_time, by_steps = figure.subplots(1, 2, sharey=True)
    for name, own in runs.items():
        _draw(by_time, [(run.seconds, run.scores) for run in own], name)
        _draw(by_steps, [(run.steps, run.scores) for run in own], name)
    by_time.set(xlabel="seconds of training", ylabel="validation score")
    by_steps.set(xlabel="training steps")
    scores = np.concatenate([run.scores for own in runs.values() for run in own])
    low, high = np.quantile(scores, [0.1, 1.0])
    if len(scores) > 10 and low - scores.min() > 2 * (high - low):
        by_time.set_ylim(low - 0.5 * (high - low), high + 0.1 * (high - low))
    figure.legend(*by_time.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw(ax: Axes, curves: Sequence[tuple[Sequence[float], Sequence[float]]], name: str) -> None:
    """One candidate, over the range that all its runs cover."""
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    x = np.linspace(start, max(start, end), POINTS)
    values = np.stack([np.interp(x, *curve) for curve in curves])
    (line,) = ax.plot(x, values.mean(0), lw=1.8, marker="o" if start >= end else "", label=name)
    if len(curves) > 1:
        ax.fill_between(x, values.min(0), values.max(0), alpha=0.2, lw=0, color=line.get_color())
