"""Figures of topics: the probability of every unit over time, below its words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from pyrodgm.evaluate.words.topics import Topic
from pyrodgm.figures.checks import ONE_STEP

COLUMNS = 2
TITLE_WORDS = 6


def topic_trajectories(labels: Sequence[float], topics: Sequence[Topic]) -> Figure:
    r"""The probability of each topic in every frame, q(z_t = 1 | x), titled with its words.

    Args:
        labels: of the frames, for example years, T of them.
        topics: the topics to draw, with probabilities (T,).
    """
    lines = math.ceil(len(topics) / COLUMNS)
    figure = Figure(figsize=(9.6, 0.4 + 1.25 * lines), layout="constrained")
    axes = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, topic in zip(axes.flat, topics, strict=False):
        ax.fill_between(labels, 0, topic.probability, color=ONE_STEP, alpha=0.3, lw=0)
        ax.plot(labels, topic.probability, color=ONE_STEP, lw=1.1)
        ax.set_title(
            f"{topic.unit}: {', '.join(topic.words[:TITLE_WORDS])}", fontsize=8, loc="left"
        )
        ax.set(ylim=(0, 1), yticks=[0, 1], xlim=(labels[0], labels[-1]))
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[len(topics) :]:
        ax.set_axis_off()
    return figure
