"""Draws of two latents from the guide, coloured by the row that they are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

EDGE = 3.5  # limit of both axes, in units of a standard normal prior
RINGS = (1.0, 2.0, 3.0)  # radii of the prior that are drawn


def posterior_scatter(draws: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draws of two latents, a colour for every row, with circles of the standard normal prior.

    Args:
        draws: of N rows, (N, S, 2).
        labels: of the rows, N.
    """
    figure = Figure(figsize=(5.4, 5.2), layout="constrained")
    ax = figure.subplots()
    colours = colormaps["tab10" if len(draws) <= 10 else "tab20"]
    for number, (z, label) in enumerate(zip(draws, labels, strict=True)):
        ax.scatter(z[:, 0], z[:, 1], s=3, color=colours(number), label=label, linewidths=0)
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius in RINGS:
        ax.plot(radius * np.cos(angle), radius * np.sin(angle), color="#999999", lw=0.6, ls=":")
    ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), xlabel="latent 0", ylabel="latent 1")
    ax.set_aspect("equal")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside upper center", ncols=4, markerscale=4
    )
    return figure
