"""When is a topic spoken of? The odds of every unit over the years, below its words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from matplotlib.figure import Figure

from pyrodgm.evaluate.plots import ONE_STEP

COLUMNS = 2
TITLE_WORDS = 6


def topic_trajectories(
    labels: Sequence[float], odds: np.ndarray, words: Sequence[Sequence[str]], units: Sequence[int]
) -> Figure:
    r"""How probable each topic is in every frame, q(z_t = 1 | x), titled with its words.

    Args:
        labels: of the frames, for example years, T of them.
        odds: of the topics to draw, (T, J).
        words: of each topic, the best first.
        units: the number of each topic's latent.
    """
    lines = math.ceil(odds.shape[1] / COLUMNS)
    figure = Figure(figsize=(9.6, 0.4 + 1.25 * lines), layout="constrained")
    axes = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, trajectory, best, unit in zip(axes.flat, odds.T, words, units, strict=False):
        ax.fill_between(labels, 0, trajectory, color=ONE_STEP, alpha=0.3, lw=0)
        ax.plot(labels, trajectory, color=ONE_STEP, lw=1.1)
        ax.set_title(f"{unit}: {', '.join(best[:TITLE_WORDS])}", fontsize=8, loc="left")
        ax.set(ylim=(0, 1), yticks=[0, 1], xlim=(labels[0], labels[-1]))
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[odds.shape[1] :]:
        ax.set_axis_off()
    return figure


def most_moving(odds: np.ndarray, num: int) -> np.ndarray:
    """The topics that tell most about time, (num,): each moves most in ways those before do not.

    They are the pivots of a QR decomposition of the odds about their means. One that is always on
    tells nothing, and one that goes with another nothing new.

    Args:
        odds: of every topic in every frame, (T, J).
        num: how many.
    """
    pivots = scipy.linalg.qr(odds - odds.mean(0), mode="r", pivoting=True)[-1]
    return np.asarray(pivots[:num])
