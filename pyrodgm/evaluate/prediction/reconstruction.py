"""Rows as a model returns them from the latents that its guide draws for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.draws import draw, simulate
from pyrodgm.engine.rollout import Rollout
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides import Guide, ImplicitGuide, StepGuide
from pyrodgm.models import Generator, Model, StepModel
from pyrodgm.tables import Measured


@dataclass(frozen=True)
class Reconstruction:
    """Some rows and their reconstructions, in the units of the data.

    Args:
        observed: (N, D); NaN where a feature is missing.
        expected: the mean of the row given its latents, averaged over draws of them, (N, D).
    """

    observed: np.ndarray
    expected: np.ndarray


def has_reconstructions(model: Model, guide: Guide, info: DataInfo) -> bool:
    """Whether a model of rows has latents that its guide draws for a row."""
    rows = info.max_length == 1 and info.kind not in ("count", "categorical")
    drawn = bool(model.latents) and isinstance(guide, StepGuide | ImplicitGuide)
    return rows and drawn and isinstance(model, StepModel | Generator)


def reconstruct(
    model: Model,
    guide: Guide,
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
        expected = sequences.uncentred(_expected(model, guide, batch.to(device), samples).mean(0))
    return Reconstruction(observed, expected[:, 0].cpu().numpy())


def reconstruction_error(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> Measured:
    r"""Mean squared error of reconstructed rows, per feature, with its standard error over rows.

    .. math:: \frac1{N D} \sum_{i d} \big(x_{id} - \mathbb E_{p(x' \mid z_i)} x'_d\big)^2,
        \qquad z_i \sim q(z \mid x_i)

    with one draw of the latents for every row. Missing values are left out.

    Args:
        model: the model p, of independent rows.
        guide: the guide q.
        sequences: the rows.
        seed: of the draws; the global generator is left alone.
    """
    errors = []
    with drawing(model, seed, "reconstruction error") as device:
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            off = (_expected(model, guide, batch, 1)[0] - batch.x).square().cpu()
            seen = batch.observed.cpu().expand_as(off)
            errors.append((off * seen).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1))
    found = torch.cat(errors).double()
    error = float(found.std()) / len(found) ** 0.5 if len(found) > 1 else math.nan
    return Measured(float(found.mean()), error)


def _expected(model: Model, guide: Guide, batch: Batch, samples: int) -> Tensor:
    """Observations given draws of the latents from the guide, (K, B, T, D); see `decoded`."""
    return decoded(model, batch, draw(guide, batch, samples).values)


def decoded(model: Model, batch: Batch, values: Mapping[str, Tensor]) -> Tensor:
    """Means of observations given values of the latents, (K, B, T, D), as batches hold them.

    A generator has draws in the place of means.

    Args:
        model: a step model, or a generator with latents.
        batch: gives conditions and mask.
        values: of every latent site, (K, B, T, J).
    """
    samples = len(next(iter(values.values())))
    if isinstance(model, Generator):
        return simulate(model, batch, samples, given=values).values["x"]
    assert isinstance(model, StepModel), "only a model with steps is rolled out"
    one = samples == 1  # which has no dimension of its own in a rollout
    found = Rollout(
        model,
        model.encode(batch),
        {name: value[0] if one else value for name, value in values.items()},
        leading=torch.Size([batch.size] if one else [samples, batch.size]),
        length=batch.length,
        like=batch.x,
        expected=model.observed,
    ).draw()["x"]
    return found[None] if one else found
