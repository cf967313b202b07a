"""Rows as a model returns them from the latents that its guide draws for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw
from pyrodgm.engine.rollout import Rollout
from pyrodgm.evaluate.passes import drawing
from pyrodgm.guides import StepGuide
from pyrodgm.models import StepModel


@dataclass(frozen=True)
class Reconstruction:
    """Some rows and their reconstructions, in the units of the data.

    Args:
        observed: (N, D); NaN where a feature is missing.
        expected: the mean of the row given its latents, averaged over draws of them, (N, D).
    """

    observed: np.ndarray
    expected: np.ndarray


def reconstruct(
    model: StepModel,
    guide: StepGuide,
    sequences: Sequences,
    *,
    most: int = 10,
    samples: int = 20,
    seed: int = 0,
) -> Reconstruction:
    r"""Reconstructions of rows at equal distances in a split.

    .. math:: \mathbb E_{q(z \mid x)} \, \mathbb E_{p(x' \mid z)} [x']

    Missing features are reconstructed too.

    Args:
        model: the model p, of independent rows.
        guide: the guide q.
        sequences: the rows.
        most: rows N at most.
        samples: draws of the latents of every row.
        seed: of the draws; the global generator is left alone.
    """
    count = min(most, len(sequences))
    rows = np.linspace(0, len(sequences) - 1, count).round().astype(np.int64)
    batch = sequences.batch(rows)
    observed = sequences.uncentred(batch.x.where(batch.observed, torch.nan))[:, 0].numpy()
    with drawing(model, seed, "reconstruct") as device:
        batch = batch.to(device)
        drawn = Rollout(
            model,
            model.encode(batch),
            draw(guide, batch, samples).values,
            leading=torch.Size([samples, batch.size]),
            length=batch.length,
            like=batch.x,
            expected=model.observed,
        ).draw()
        expected = sequences.uncentred(drawn["x"].mean(0))[:, 0]
    return Reconstruction(observed, expected.cpu().numpy())
