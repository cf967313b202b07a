"""Latents that a guide draws for the rows of a split, as points in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.draws import draw
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.evaluate.posterior.kept import spread_rows
from pyrodgm.evaluate.samples.classifier import labels_of
from pyrodgm.guides import Guide
from pyrodgm.models import Model

ROWS = 2000
FEW = 10  # different rows, below which every row is a class of its own


@dataclass(frozen=True)
class Cloud:
    """Points, one for each row.

    Args:
        points: (N, 2), or (N, 1) for a single latent.
        axes: what the coordinates are.
        labels: classes of the rows, (N,) words, if they are known.
    """

    points: np.ndarray
    axes: tuple[str, ...]
    labels: np.ndarray | None


def clouds(
    model: Model, guide: Guide, info: DataInfo, sequences: Sequences, *, seed: int = 0
) -> dict[str, Cloud]:
    """One draw of every continuous site of latents for each row, by site.

    More than two latents are shown by their two principal components.

    Args:
        model: the model p, of independent rows.
        guide: the guide q.
        info: facts of the data.
        sequences: the rows, of which at most 2000 are used.
        seed: of the draws; the global generator is left alone.
    """
    few = sequences.select(spread_rows(len(sequences), ROWS))
    sites = [name for name, site in model.latents.items() if site.kind == "continuous"]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in sites}
    order = []
    with drawing(model, seed, "latents") as device:
        for rows, _ in chunks(few.lengths, 1, width=model.frame_size):
            values = draw(guide, few.batch(rows).to(device), 1, pathwise=False).values
            order.append(rows)
            for name in sites:
                parts[name].append(values[name][0, :, 0].cpu().double().numpy())
    labels = _labels(few, info)
    if labels is not None:
        labels = labels[np.concatenate(order)]
    return {name: Cloud(*flat(np.concatenate(z), name), labels) for name, z in parts.items()}


def flat(z: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Points in at most two dimensions, and what their coordinates are.

    >>> x = np.random.default_rng(0).normal(size=(50, 3)) * [1, 9, 0]
    >>> points, axes = flat(x, "z")
    >>> axes[0], bool(np.allclose(np.abs(points[:, 0]), np.abs((x - x.mean(0))[:, 1]), atol=0.3))
    ('z, principal component 1 of 3', True)
    """
    dims = z.shape[1]
    if dims <= 2:
        return z, tuple(f"{name} {j}" for j in range(dims))
    centred = torch.from_numpy(z - z.mean(0))
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    names = tuple(f"{name}, principal component {k} of {dims}" for k in (1, 2))
    return (centred @ directions[:2].T).numpy(), names


def _labels(sequences: Sequences, info: DataInfo) -> np.ndarray | None:
    """The classes of rows; where there are a few different rows only, which of them it is."""
    if found := labels_of(sequences, info):
        return found[0]
    if len(sequences) <= FEW:
        return None
    different, which = np.unique(sequences.x.numpy(), axis=0, return_inverse=True)
    return which.reshape(-1).astype(str) if len(different) <= FEW else None
