"""Figures of latents of rows: points by class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from pyrodgm.data.labels import classes_of
from pyrodgm.evaluate.latents.cloud import Cloud

NAMED = 12  # largest number of classes in a legend
WIDTH, HEIGHT = 5.6, 4.8


def latent_scatter(found: Mapping[str, Cloud]) -> Figure:
    """Latents of rows in the plane, coloured by class where classes are known.

    Args:
        found: by site; see `pyrodgm.evaluate.latents.cloud.clouds`.
    """
    figure = Figure(figsize=(WIDTH * len(found), HEIGHT), layout="constrained")
    for ax, cloud in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.values(), strict=True
    ):
        points = cloud.points
        up = points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
        classes = () if cloud.labels is None else classes_of(cloud.labels.tolist())
        colours = colormaps["tab10" if len(classes) <= 10 else "turbo"]
        for place, name in enumerate(classes):
            own = cloud.labels == name
            colour = colours(place if len(classes) <= 10 else place / (len(classes) - 1))
            ax.scatter(points[own, 0], up[own], s=6, color=colour, label=name, linewidths=0)
        if not classes:
            ax.scatter(points[:, 0], up, s=6, color="#1f5fa8", linewidths=0)
        ax.set_xlabel(cloud.axes[0])
        if len(cloud.axes) > 1:
            ax.set_ylabel(cloud.axes[1])
            ax.set_aspect("equal", adjustable="datalim")
        ax.spines[["top", "right"]].set_visible(False)
        if 0 < len(classes) <= NAMED:
            ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=2)
    return figure
