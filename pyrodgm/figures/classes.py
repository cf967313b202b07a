"""Figures of the use of classes by categorical latents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyrodgm.evaluate.latents.classes import DEAD, INFORMATIVE, ClassUse
from pyrodgm.figures.checks import BAD, DATA, ONE_STEP


def class_shares(use: Mapping[str, ClassUse]) -> Figure:
    """Shares of the classes of every variable, and the variable's information about the data.

    Args:
        use: by site; see `pyrodgm.evaluate.latents.classes.class_use`.
    """
    figure = Figure(figsize=(9, 0.6 + 3 * len(use)), layout="constrained")
    panels = figure.subplots(len(use), 2, squeeze=False, width_ratios=(2, 1))
    for (name, of), (left, right) in zip(use.items(), panels, strict=True):
        _bars(left, of) if len(of.used) == 1 else _heat(figure, left, of)
        left.set_title(f"{name}: {of.dead} of {of.used.size} dead", fontsize=9)
        values = np.sort(of.information)[::-1]
        colours = np.where(values > INFORMATIVE, ONE_STEP, BAD)
        right.bar(np.arange(len(values)), values, width=0.8, color=colours.tolist())
        right.axhline(np.log(of.shares.shape[1]), color=DATA, lw=1, ls="--")
        right.set(xlabel="variable, largest first", ylabel="nats about the data")
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(ax: Axes, of: ClassUse) -> None:
    """Shares of the classes of one variable, or of the codes of a codebook, largest first."""
    shares = np.sort(of.used[0])[::-1]
    dead = shares < DEAD / len(shares)
    ax.bar(np.arange(len(shares)), shares, width=1.0, color=np.where(dead, BAD, ONE_STEP).tolist())
    ax.axhline(1 / len(shares), color=DATA, lw=1, ls="--")
    ax.set(xlabel="class, most frequent first", ylabel="share")
    ax.spines[["top", "right"]].set_visible(False)


def _heat(figure: Figure, ax: Axes, of: ClassUse) -> None:
    """Shares of the classes of every variable, largest first."""
    shares = np.sort(of.shares, 1)[:, ::-1]
    image = ax.imshow(shares, aspect="auto", cmap="Blues", vmin=0, interpolation="nearest")
    figure.colorbar(image, ax=ax, label="share", pad=0.01)
    ax.set(xlabel="class, most frequent first", ylabel="variable")
