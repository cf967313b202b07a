"""Figures of latent units: their weights as pictures, their activity, and how many are active."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyrodgm.data.base import DataInfo, Kind
from pyrodgm.evaluate.latents.activity import ACTIVE
from pyrodgm.evaluate.latents.dictionary import Dictionary
from pyrodgm.figures.checks import BAD, DATA, ONE_STEP
from pyrodgm.figures.pixels import pixels
from pyrodgm.figures.sequences import name_octaves

FRAMES_SHOWN = 400  # of one sequence
COLUMNS = 12  # of a grid of pictures
SHOWN = 96  # units in one picture
CLIPPED = 99.5  # percentile of the weights above which colours saturate
COLOURS = "RdBu_r"
LEAST_SHOWN = 1e-5  # variance; smaller ones are drawn there
UNITS: dict[Kind, str] = {
    "binary": "log-odds",
    "unit": "log-odds",
    "categorical": "logit",
    "count": "logit",
    "real": "standard deviations",
}


def draw_dictionary(dictionary: Dictionary, info: DataInfo) -> Figure:
    """The units with the largest effect: a grid of pictures, or a column of features for each.

    Args:
        dictionary: weights and activity of the units.
        info: facts of the data.
    """
    shown = dictionary.order[:SHOWN]
    limit = float(np.percentile(np.abs(dictionary.weights[shown]), CLIPPED)) or 1.0
    draw = _pictures if info.image_shape else _columns
    figure = draw(dictionary, shown, limit, info)
    image = figure.axes[0].images[0]
    if info.picture_shape[0] == 1:
        figure.colorbar(image, ax=figure.axes, label=UNITS[info.kind], shrink=0.6, pad=0.01)
    return figure


def _pictures(dictionary: Dictionary, shown: np.ndarray, limit: float, info: DataInfo) -> Figure:
    """All pictures in one image, with the share of frames below each."""
    channels, height, width = info.picture_shape
    lines = math.ceil(len(shown) / COLUMNS)
    gap = max(2, height // 6)
    size = (lines * (height + gap), COLUMNS * (width + 2))
    grid = np.full(size if channels == 1 else (*size, channels), np.nan)
    figure = Figure(figsize=(9.6, 0.3 + 9 / COLUMNS * lines), layout="constrained")
    ax = figure.subplots()
    for place, unit in enumerate(shown):
        top, left = place // COLUMNS * (height + gap), place % COLUMNS * (width + 2)
        picture = pixels(dictionary.weights[unit], info)
        grid[top : top + height, left : left + width] = picture
        ax.text(left + width / 2, top + height + gap / 2 - 0.8, _label(dictionary, int(unit)),
                ha="center", va="center", fontsize=6, color="#555555")  # fmt: skip
    if channels > 1:  # colour pictures: grey where a weight is zero, white between pictures
        grid = np.nan_to_num((grid / limit + 1) / 2, nan=1.0).clip(0, 1)
    ax.imshow(grid, cmap=COLOURS, vmin=-limit, vmax=limit, interpolation="nearest")
    ax.set_axis_off()
    return figure


def _label(dictionary: Dictionary, unit: int) -> str:
    if dictionary.activity is None:
        return f"{dictionary.site} {unit}"
    return f"{100 * dictionary.activity[unit]:.0f} %"


def _columns(dictionary: Dictionary, shown: np.ndarray, limit: float, info: DataInfo) -> Figure:
    """Features from bottom to top, one column per unit, with its share of frames above."""
    known = dictionary.activity is not None
    figure = Figure(figsize=(9.6, 5), layout="constrained")
    ratios = (5, 1) if known else (1,)
    axes = figure.subplots(len(ratios), 1, height_ratios=ratios, sharex=True, squeeze=False)[:, 0]
    low, high = _used(info, dictionary.weights.shape[1])
    base = info.lowest_pitch or 0
    axes[0].imshow(
        dictionary.weights[shown, low:high].T, cmap=COLOURS, vmin=-limit, vmax=limit,
        aspect="auto", origin="lower", interpolation="nearest",
        extent=(-0.5, len(shown) - 0.5, base + low - 0.5, base + high - 0.5),
    )  # fmt: skip
    axes[0].set_ylabel("pitch" if name_octaves(axes[0], info, low, high) else "feature")
    if dictionary.activity is not None:
        axes[1].bar(np.arange(len(shown)), 100 * dictionary.activity[shown], color=ONE_STEP)
        axes[1].set(ylabel="on, %", ylim=(0, 100))
        axes[1].spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel(f"units of {dictionary.site}, largest effect first")
    return figure


def _used(info: DataInfo, size: int) -> tuple[int, int]:
    """Range of the features of a piano roll that are on in training; all features otherwise."""
    used = np.flatnonzero(np.asarray(info.mean) > 0)
    if info.lowest_pitch is None or not len(used):
        return 0, size
    return int(used.min()), int(used.max()) + 1


def latent_activity(frames: np.ndarray, share: np.ndarray, title: str = "") -> Figure:
    """Activity of the units of a layer in one sequence, and on average over a split.

    Args:
        frames: expected values of the units in one sequence, (T, J).
        share: their mean over a split, (J,); units are sorted by it.
        title: of the figure.
    """
    order = np.argsort(-share, kind="stable")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    image = left.imshow(
        frames[:FRAMES_SHOWN, order].T,
        aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest",
    )  # fmt: skip
    left.set(xlabel="frame", ylabel="unit, most active first", title=title)
    figure.colorbar(image, ax=left, label="expected value", pad=0.01)
    right.barh(np.arange(len(share)), share[order], height=1.0, color=ONE_STEP)
    right.set(xlabel="mean over the split", xlim=(0, 1))
    right.spines[["top", "right"]].set_visible(False)
    return figure


def active_units(activities: Mapping[str, np.ndarray]) -> Figure:
    """Variance over frames of the posterior mean of every unit, largest first, with the threshold.

    Args:
        activities: by site, (J,); see `pyrodgm.evaluate.latents.activity.activities`.
    """
    figure = Figure(figsize=(9, 0.6 + 2.2 * len(activities)), layout="constrained")
    panels = figure.subplots(len(activities), 1, squeeze=False)[:, 0]
    for ax, (name, values) in zip(panels, activities.items(), strict=True):
        shown = np.sort(values)[::-1].clip(LEAST_SHOWN)
        active, units = shown > ACTIVE, np.arange(len(shown))
        ax.bar(units[active], shown[active], width=0.8, color=ONE_STEP)
        ax.bar(units[~active], shown[~active], width=0.8, color=BAD)
        ax.axhline(ACTIVE, color=DATA, lw=1, ls="--")
        ax.set(
            yscale="log",
            ylim=(LEAST_SHOWN / 2, None),
            ylabel="variance of\nposterior mean",
            xlabel=f"units of {name}, largest first: {active.sum()} of {len(shown)} active",
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
    return figure
