"""What was in the frames, or features of frames, that are missing?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions import Mixture, Symbols
from pyrodgm.engine.particles import symbols_of, weighted_quantiles
from pyrodgm.errors import DataError, UsageError
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
        x: observed values as they were, and means of the missing ones, (sum of lengths, D); of
            categorical features the likeliest symbols.
        seen: True where a feature was observed, (sum of lengths, D).
        levels: of the quantiles, (Q,); none of categorical features, which have no order.
        quantiles: of every feature, (Q, sum of lengths, D); observed values where there is one.
        lengths: frames of each sequence, (N,).
        probabilities: of all symbols of categorical features, (sum of lengths, S), as the model has
            them where one is missing, and one and zero where it was observed; None for others.
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

    by the completions that the particles of frame t + L descend from, with their weights. The more
    frames tell about a gap, the fewer of the particles that completed it have descendants; where
    these are effectively less than a tenth of all, no more frames are asked. More samples reach
    further. A model with a state that is summed out, `hmm` or `lds`, is asked exactly, and given
    all that was seen.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: with missing features.
        samples: particles K; draws for the quantiles where the model is asked exactly.
        quantiles: levels in [0, 1], `QUANTILES` if not given; categorical features have none.
        means: missing features take, and feed back, their mean given the latents; for grey values.
        lag: L; zero makes a filter, which knows nothing of what comes after. For particles.
        seed: of the draws; the global generator is left alone.

    Raises:
        DataError: nothing is missing.
        UsageError: no sequence model, no samples, a negative lag, or quantiles that there are not.
        CompatibilityError: the model's frames cannot be completed.

    Reference: Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space
    models, 1996, section 3; the fixed lag is that of Kitagawa and Sato, Monte Carlo smoothing and
    self-organising state-space model, 2001, who take 10 to 20.
    """
    p, q = over_time(model, guide)
    _check(sequences, samples, lag)
    known = symbols_of(p)
    levels = torch.tensor(levels_of(quantiles, known))
    seen = ~sequences.x.isnan()
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
    """What was filled in, of means and quantiles of every frame, (1 + Q, sum of lengths, D)."""
    x, between, probabilities = filled[0], filled[1:], None
    if known is not None:
        x = torch.where(seen, sequences.x, known.likeliest(filled[0]))
        between, probabilities = filled.new_empty(0, *x.shape), filled[0].numpy()
    return Imputation(
        x.numpy(), seen.numpy(), levels.numpy(), between.numpy(), sequences.lengths, probabilities
    )


def _as_predicted(x: Tensor, seen: Tensor, known: Symbols | None) -> tuple[Tensor, Tensor]:
    """Frames and what was seen of them; of categorical features one number for each symbol."""
    return (x, seen) if known is None else (known.one_hot(x), seen[:, known.owner])


def _check(sequences: Sequences, samples: int, lag: int) -> None:
    if samples < 1:
        raise UsageError(f"samples is {samples}; give at least 1")
    if lag < 0:
        raise UsageError(f"lag is {lag}; give 0 or more")
    if not sequences.has_missing:
        raise DataError("nothing is missing in these sequences: there is nothing to fill in")


def _smoothed(
    model: StateSpaceModel, batch: Batch, samples: int, levels: Tensor, *, means: bool
) -> Tensor:
    """Mean and quantiles of every frame given all that was seen, (1 + Q, B, T, D)."""
    law, shape = model.smoothed(batch), torch.Size([samples])
    if not len(levels):
        return law.mean[None]
    drawn = law.sample_mean(shape) if means and isinstance(law, Mixture) else law.sample(shape)
    even = drawn.new_full(drawn.shape[:2], 1 / samples)
    quantiles = weighted_quantiles(drawn.flatten(2), even, levels)
    return torch.cat([law.mean[None], quantiles.unflatten(-1, drawn.shape[2:])])


def _filtered(particles: CompletingFilter, levels: Tensor, known: Symbols | None) -> Tensor:
    """Mean and quantiles of every frame by completions and their weights, (1 + Q, B, T, D)."""
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
    """Rows that are completed together; every particle keeps some of its frames."""
    frames = PARTICLE_NUMBERS_AT_ONCE // (samples * sequences.x.shape[1])
    return evaluation_batches(sequences.lengths, max(1, min(frames, PARTICLE_ROWS_AT_ONCE)))
