"""How does a sequence look? Piano rolls, frames of a video, or features over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pyrodgm.data.base import DataInfo

COLUMNS = 10  # frames shown of a video
VISIBLE = 0.02  # features that never exceed it lie outside the part of a roll that is shown


def pictures(rows: Mapping[str, np.ndarray], info: DataInfo, title: str = "") -> Figure:
    """Sequences below each other: frames side by side where they are images, else features by time.

    Args:
        rows: each sequence, (T, D), by its label; at least one.
        info: facts of the data.
        title: of the figure.
    """
    norm = Normalize() if info.kind == "real" else Normalize(0, 1)
    norm.autoscale_None(np.concatenate(list(rows.values())))
    figure = _videos(rows, info, norm) if info.image_shape else _rolls(rows, info, norm)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _rolls(rows: Mapping[str, np.ndarray], info: DataInfo, norm: Normalize) -> Figure:
    figure = Figure(figsize=(9, 1 + 2.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    low, high = _shown_features(rows, info)
    for ax, (name, row) in zip(axes, rows.items(), strict=True):
        _roll(ax, row, info, norm, low, high)
        ax.set_ylabel(name)
    axes[-1].set_xlabel("frame")
    if info.kind == "real" or any(((row > 0) & (row < 1)).any() for row in rows.values()):
        label = "value" if info.kind == "real" else "probability"
        figure.colorbar(ScalarMappable(norm, "Greys"), ax=list(axes), shrink=0.5, label=label)
    return figure


def _shown_features(rows: Mapping[str, np.ndarray], info: DataInfo) -> tuple[int, int]:
    used = np.flatnonzero(np.max([row.max(0) for row in rows.values()], axis=0) > VISIBLE)
    if info.lowest_pitch is None or not len(used):
        return 0, info.dim
    return max(int(used.min()) - 1, 0), min(int(used.max()) + 2, info.dim)


def _roll(ax: Axes, row: np.ndarray, info: DataInfo, norm: Normalize, low: int, high: int) -> None:
    """Features low to high over time; pitches named by octave."""
    base = info.lowest_pitch or 0
    extent = (0, len(row), base + low - 0.5, base + high - 0.5)
    image = row[:, low:high].T
    ax.imshow(image, origin="lower", aspect="auto", cmap="Greys", norm=norm, extent=extent)
    if info.lowest_pitch is not None:
        octaves = [c for c in range(0, 128, 12) if base + low <= c < base + high]
        ax.set_yticks(octaves, [f"C{c // 12 - 1}" for c in octaves])
        for c in octaves:
            ax.axhline(c - 0.5, color="#b9d3e8", lw=0.7)


def _videos(rows: Mapping[str, np.ndarray], info: DataInfo, norm: Normalize) -> Figure:
    """Frames at equal distances in time."""
    length = len(next(iter(rows.values())))
    frames = np.unique(np.linspace(0, length - 1, min(COLUMNS, length)).round().astype(int))
    figure = Figure(figsize=(1.15 * len(frames) + 0.9, 1.2 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), len(frames), squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for ax, frame in zip(line, frames, strict=True):
            ax.imshow(row[frame].reshape(info.image_shape), cmap="gray", norm=norm)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    for ax, frame in zip(axes[-1], frames, strict=True):
        ax.set_xlabel(f"frame {frame + 1}", fontsize=8)
    return figure
