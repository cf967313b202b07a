"""Imputation of missing frames and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions import Mixture, Symbols
from pyrodgm.engine.particles import symbols_of, weighted_quantiles
from pyrodgm.errors import DataError
from pyrodgm.evaluate.passes import (
    PARTICLE_NUMBERS_AT_ONCE,
    PARTICLE_ROWS_AT_ONCE,
    drawing,
    over_time,
)
from pyrodgm.evaluate.prediction.completing_filter import LAG, CompletingFilter
from pyrodgm.evaluate.prediction.forecast import levels_of
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StateSpaceModel


@dataclass(frozen=True)
class Imputation:
    """Sequences with their missing features filled in, stored end to end.

    Args:
        x: observed values unchanged, and means of the missing ones, (sum of lengths, D); for
            categorical features the most probable symbols.
        seen: True where a feature was observed, (sum of lengths, D).
        levels: of the quantiles, (Q,); empty for categorical features, which have no order.
        quantiles: of every feature, (Q, sum of lengths, D); equal to the value if it was observed.
        lengths: frames of each sequence, (N,).
        probabilities: of all symbols of categorical features, (sum of lengths, S): those of the
            model if missing, one and zero if observed; None for other data.
    """

    x: np.ndarray
    seen: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    lengths: np.ndarray
    probabilities: np.ndarray | None = None

    @property
    def missing(self) -> int:
        """How many values were missing."""
        return int((~self.seen).sum())


def impute(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    samples: int = 100,
    quantiles: Sequence[float] | None = None,
    means: bool = False,
    lag: int = LAG,
    seed: int = 0,
) -> Imputation:
    r"""Fill in what is missing, given what was seen before it and after.

    .. math:: p(x_{t,\text{missing}} \mid x_{\text{seen}, \le t + L})

    by the completed frames of the ancestors of the particles of frame t + L, with their weights.
    Every further frame reduces the number of different ancestors. Smoothing stops before their
    effective number falls below a tenth of the particles; with more samples it reaches further. For
    models whose state is summed out, `hmm` and `lds`, the result is exact given all observations.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: with missing features.
        samples: particles K; for exact models, draws for the quantiles.
        quantiles: levels in [0, 1], `QUANTILES` if not given; categorical features have none.
        means: whether missing features take, and feed back, their mean given the latents; for grey
            values.
        lag: L; zero gives a filter, which does not use later frames. Not used by exact models.
        seed: of the draws; the global generator is left alone.

    Raises:
        DataError: nothing is missing.
        UsageError: no sequence model, no samples, a negative lag, or invalid quantiles.
        CompatibilityError: missing features of the model's frames cannot be drawn.

    Reference: Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space
    models, 1996, section 3; the fixed lag is that of Kitagawa and Sato, Monte Carlo smoothing and
    self-organising state-space model, 2001, who take 10 to 20.
    """
    p, q = over_time(model, guide)
    _check(sequences, samples, lag)
    known, seen = symbols_of(p), ~sequences.x.isnan()
    levels = torch.tensor(levels_of(quantiles, known))
    observed = sequences.x if sequences.centre is None else sequences.x.double()
    target, given = _as_predicted(observed, seen, known)
    filled = target.repeat(1 + len(levels), 1, 1)
    with drawing(p, seed, "impute") as device:
        for rows in _portions(sequences, samples):
            batch = sequences.batch(rows).to(device)
            if isinstance(p, StateSpaceModel):
                summary = _smoothed(p, batch, samples, levels, means=means)
            else:
                how = {"means": means, "lag": lag, "ordered": known is None}
                summary = _filtered(CompletingFilter(p, q, batch, samples, **how), levels, known)
            frames = torch.from_numpy(sequences.starts[rows])[:, None] + torch.arange(batch.length)
            there = batch.mask.cpu()
            places, summary = frames[there], sequences.uncentred(summary).to(filled)[:, there]
            filled[:, places] = torch.where(given[places], filled[:, places], summary)
    return _imputation(sequences, seen, filled, levels, known)


def _imputation(
    sequences: Sequences, seen: Tensor, filled: Tensor, levels: Tensor, known: Symbols | None
) -> Imputation:
    """The imputation from means and quantiles of every frame, (1 + Q, sum of lengths, D)."""
    x, between, probabilities = filled[0], filled[1:], None
    if known is not None:
        x = torch.where(seen, sequences.x, known.likeliest(filled[0]))
        between, probabilities = filled.new_empty(0, *x.shape), filled[0].numpy()
    return Imputation(
        x.numpy(), seen.numpy(), levels.numpy(), between.numpy(), sequences.lengths, probabilities
    )


def _as_predicted(x: Tensor, seen: Tensor, known: Symbols | None) -> tuple[Tensor, Tensor]:
    """Frames and the mask of observed features; for categorical data one number per symbol."""
    return (x, seen) if known is None else (known.one_hot(x), seen[:, known.owner])


def _check(sequences: Sequences, samples: int, lag: int) -> None:
    check_whole(samples=samples)
    check_whole(0, lag=lag)
    if not sequences.has_missing:
        raise DataError("these sequences have no missing values, so there is nothing to impute")


def _smoothed(
    model: StateSpaceModel, batch: Batch, samples: int, levels: Tensor, *, means: bool
) -> Tensor:
    """Mean and quantiles of every frame given all observations, (1 + Q, B, T, D)."""
    distribution, shape = model.smoothed(batch), torch.Size([samples])
    if not len(levels):
        return distribution.mean[None]
    drawn = (
        distribution.sample_mean(shape)
        if means and isinstance(distribution, Mixture)
        else distribution.sample(shape)
    )
    even = drawn.new_full(drawn.shape[:2], 1 / samples)
    quantiles = weighted_quantiles(drawn.flatten(2), even, levels)
    return torch.cat([distribution.mean[None], quantiles.unflatten(-1, drawn.shape[2:])])


def _filtered(particles: CompletingFilter, levels: Tensor, known: Symbols | None) -> Tensor:
    """Mean and quantiles of every frame from weighted completions, (1 + Q, B, T, D)."""
    x = particles.batch.x
    size = x.shape[-1] if known is None else known.size
    frames = torch.zeros(1 + len(levels), *x.shape[:2], size, dtype=x.dtype)
    for t, found in particles.completions():
        kept, weights = found.kept.cpu(), found.weights.cpu()
        kept = kept if known is None else known.one_hot(kept)
        frames[0, :, t] = torch.einsum("kb,kbd->bd", weights, kept)
        frames[1:, :, t] = weighted_quantiles(kept, weights, levels)
    return frames


def _portions(sequences: Sequences, samples: int) -> list[np.ndarray]:
    """Rows that are completed together; every particle stores some of its frames."""
    frames = PARTICLE_NUMBERS_AT_ONCE // (samples * sequences.x.shape[1])
    return evaluation_batches(sequences.lengths, max(1, min(frames, PARTICLE_ROWS_AT_ONCE)))
