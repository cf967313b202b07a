"""Log-densities in the plane as pictures, with draws over them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

DEPTH = 12.0  # nats below the highest density that colours show
SHOWN = 500  # draws
MARGIN = 0.15  # around the draws, relative to their extent


def landscapes(
    across: np.ndarray,
    up: np.ndarray,
    densities: dict[str, np.ndarray],
    draws: np.ndarray | None = None,
) -> Figure:
    """Log-densities over the plane beside each other, in the same colours.

    Args:
        across: first coordinate of the grid, (C,).
        up: second coordinate, (C,).
        densities: log-densities (C, C), by the first coordinate and then the second, by title.
        draws: points (N, 2) that lie over the first, and whose extent is shown.
    """
    figure = Figure(figsize=(4.8 * len(densities) + 0.6, 4.6), layout="constrained")
    axes = figure.subplots(1, len(densities), squeeze=False)[0]
    highest = max(float(each.max()) for each in densities.values())
    shown = (across, up) if draws is None else _extent(draws)
    picture = None
    for ax, (title, nats) in zip(axes, densities.items(), strict=True):
        floor = {"vmin": highest - DEPTH, "vmax": highest}
        picture = ax.pcolormesh(across, up, nats.T, cmap="magma", rasterized=True, **floor)
        ax.set(title=title, xlabel="feature 0", ylabel="feature 1", aspect="equal")
        ax.set_xlim(shown[0].min(), shown[0].max())
        ax.set_ylim(shown[1].min(), shown[1].max())
    if draws is not None:
        axes[0].scatter(*draws[:SHOWN].T, s=3, color="#7fd6ff", linewidths=0)
    if picture is not None:
        figure.colorbar(picture, ax=axes, label="log-density, nats", shrink=0.85)
    return figure


def _extent(draws: np.ndarray) -> np.ndarray:
    """Lowest and highest number of each coordinate with a margin, (2, 2)."""
    low, high = draws.min(0), draws.max(0)
    room = MARGIN * np.maximum(high - low, 1e-9)
    return np.stack([low - room, high + room], -1)
