"""Figures of sequences: piano rolls, frames of a video, or features over time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pyrodgm.data.base import DataInfo
from pyrodgm.data.symbols import indicators
from pyrodgm.figures.checks import ANCESTRAL, DATA, ONE_STEP
from pyrodgm.figures.pixels import scale_of, shades

COLUMNS = 10  # frames shown of a video
LINES = 6  # features shown of a motion
BEYOND = 0.3  # margin around the range of the first sequence, relative to it
LINE_COLOURS = (DATA, ONE_STEP, "#7a5ea8", "#3a9a6b")
NAMED_SYMBOLS = 30  # largest number of symbols with names on the axis
VISIBLE = 0.02  # features that never exceed this value can be outside the part shown of a roll


def pictures(
    rows: Mapping[str, np.ndarray], info: DataInfo, title: str = "", *, mark: int | None = None
) -> Figure:
    """Sequences below each other: frames side by side for pictures, else features over time.

    Args:
        rows: sequences, (T, D), by label; at least one. For categorical data, symbols or their
            probabilities, (T, S). If data has no time, T independent rows.
        info: facts of the data.
        title: of the figure.
        mark: frame before which a line is drawn, such as the first forecast frame; videos are shown
            from the frame before it on.
    """
    if info.kind == "categorical":
        rows = {name: _as_symbols(row, info) for name, row in rows.items()}
    norm = scale_of(np.concatenate(list(rows.values())), info)
    if info.image_shape:
        figure = _videos(rows, info, norm, first=0 if mark is None else max(mark - 1, 0))
    else:
        figure = _rolls(rows, info, norm)
    if mark is not None and not info.image_shape:
        for ax in figure.axes[: len(rows)]:
            ax.axvline(mark, color=ANCESTRAL, lw=1, ls=":")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _as_symbols(row: np.ndarray, info: DataInfo) -> np.ndarray:
    return row if row.shape[-1] == len(info.frequencies) else indicators(row, info.symbols)


@dataclass(frozen=True)
class Band:
    """Quantiles of the last frames of a forecast.

    Args:
        start: the first forecast frame.
        low, middle, high: of every feature, each (T - start, D).
        name: what the band is, for a legend.
    """

    start: int
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray
    name: str


def motion(
    rows: Mapping[str, np.ndarray],
    band: Band | None = None,
    title: str = "",
    *,
    within: np.ndarray | None = None,
) -> Figure:
    """Lines over time, of the features that vary most in the first sequence.

    The axes show the range of that sequence with a margin of 30 %.

    Args:
        rows: sequences, (T, D), by label; at least one. The first is drawn in black.
        band: of a forecast.
        title: of the figure.
        within: frames (any, D) that determine features and ranges instead of the first sequence.
    """
    first = next(iter(rows.values())) if within is None else within
    spread = np.nan_to_num(np.nanstd(first, 0))
    shown = np.sort(np.argsort(-spread, kind="stable")[:LINES])
    lines = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(9.6, 0.8 + 1.5 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, sharex=True, squeeze=False)
    for ax, feature in zip(axes.flat, shown, strict=False):
        for (label, row), colour in zip(rows.items(), cycle(LINE_COLOURS)):
            ax.plot(row[:, feature], color=colour, lw=1.2, label=label)
        if band is not None:
            _band(ax, band, int(feature))
        known = first[~np.isnan(first[:, feature]), feature]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        margin = BEYOND * (high - low) or 1.0
        ax.set_ylim(low - margin, high + margin)
        ax.set_title(f"feature {feature}", fontsize=8, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("frame")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _band(ax: Axes, band: Band, feature: int) -> None:
    at = band.start + np.arange(len(band.middle))
    low, high = band.low[:, feature], band.high[:, feature]
    ax.fill_between(at, low, high, color=ANCESTRAL, alpha=0.25, lw=0)
    ax.plot(at, band.middle[:, feature], color=ANCESTRAL, lw=1.1, label=band.name)
    ax.axvline(band.start - 0.5, color="#999999", lw=0.8, ls=":")


def _rolls(rows: Mapping[str, np.ndarray], info: DataInfo, norm: Normalize) -> Figure:
    figure = Figure(figsize=(9, 1 + 2.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    low, high = _shown_features(rows, info)
    for ax, (name, row) in zip(axes, rows.items(), strict=True):
        _roll(ax, row, info, norm, low, high)
        ax.set_ylabel(name)
    axes[-1].set_xlabel("frame")
    label = {"real": "value", "count": "tokens"}.get(info.kind, "probability")
    if label != "probability" or any(((row > 0) & (row < 1)).any() for row in rows.values()):
        figure.colorbar(ScalarMappable(norm, "Greys"), ax=list(axes), shrink=0.5, label=label)
    return figure


def _shown_features(rows: Mapping[str, np.ndarray], info: DataInfo) -> tuple[int, int]:
    used = np.flatnonzero(np.max([row.max(0) for row in rows.values()], axis=0) > VISIBLE)
    if info.lowest_pitch is None or not len(used):
        return 0, next(iter(rows.values())).shape[-1]
    return max(int(used.min()) - 1, 0), min(int(used.max()) + 2, info.dim)


def _roll(ax: Axes, row: np.ndarray, info: DataInfo, norm: Normalize, low: int, high: int) -> None:
    """Features low to high over time, with octaves of pitches on the axis."""
    base = info.lowest_pitch or 0
    extent = (0, len(row), base + low - 0.5, base + high - 0.5)
    image = row[:, low:high].T
    ax.imshow(image, origin="lower", aspect="auto", cmap="Greys", norm=norm, extent=extent)
    for c in name_octaves(ax, info, low, high):
        ax.axhline(c - 0.5, color="#b9d3e8", lw=0.7)


def name_octaves(ax: Axes, info: DataInfo, low: int, high: int) -> list[int]:
    """Ticks at every C among the features low to high of a piano roll; their MIDI numbers."""
    if info.kind == "categorical" and high - low <= NAMED_SYMBOLS:
        names = [str(symbol) for own in info.symbols for symbol in own]
        ax.set_yticks(range(high - low), names[low:high])
    if info.lowest_pitch is None:
        return []
    octaves = [c for c in range(0, 128, 12) if low <= c - info.lowest_pitch < high]
    ax.set_yticks(octaves, [f"C{c // 12 - 1}" for c in octaves])
    return octaves


def _videos(rows: Mapping[str, np.ndarray], info: DataInfo, norm: Normalize, first: int) -> Figure:
    """Frames at equal distances in time, from the first one to show."""
    length = len(next(iter(rows.values())))
    count = min(COLUMNS, length - first)
    frames = np.unique(np.linspace(first, length - 1, count).round().astype(int))
    figure = Figure(figsize=(1.15 * len(frames) + 0.9, 1.2 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), len(frames), squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for ax, frame in zip(line, frames, strict=True):
            ax.imshow(shades(row[frame], info, norm), cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for ax, frame in zip(axes[-1], frames if info.max_length > 1 else (), strict=False):
        ax.set_xlabel(f"frame {frame + 1}", fontsize=8)
    return figure
