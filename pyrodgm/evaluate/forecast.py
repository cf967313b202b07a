"""What comes after the frames seen? Draws that go on from filtered particles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.particles import (
    Particles,
    beginning,
    expected,
    portions,
    systematic,
    weighted_quantiles,
)
from pyrodgm.evaluate.smc import ParticleFilter, over_time
from pyrodgm.guides import Guide, SequenceGuide
from pyrodgm.models import Model, SequenceModel
from pyrodgm.past import seen_key
from pyrodgm.seeds import forked

QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Forecast:
    """Continuations of N' sequences over H frames, beside what came.

    Args:
        rows: of the sequences in their split, (N',).
        starts: frames seen of each, (N',).
        mean: of every frame, (N', H, D).
        levels: of the quantiles, (Q,).
        quantiles: of the draws, (Q, N', H, D).
        draw: one continuation, (N', H, D).
        errors: squared error of the mean, summed over features, (N', H); NaN after a sequence's
            end.
        copy_last: the same where the last frame seen is repeated.
    """

    rows: np.ndarray
    starts: np.ndarray
    mean: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    draw: np.ndarray
    errors: np.ndarray
    copy_last: np.ndarray

    @property
    def horizon(self) -> int:
        """Frames forecast, H."""
        return self.mean.shape[1]

    def by_horizon(self) -> list[dict[str, Any]]:
        """Mean squared errors over the sequences that reach so far, one row per frame ahead."""
        return [
            {
                "ahead": ahead,
                "sequences": int((~np.isnan(errors)).sum()),
                "squared_error": _mean(errors),
                "standard_error": _standard_error(errors),
                "copy_last": _mean(copied),
            }
            for ahead, (errors, copied) in enumerate(
                zip(self.errors.T, self.copy_last.T, strict=True), start=1
            )
        ]


def _mean(errors: np.ndarray) -> float | None:
    kept = errors[~np.isnan(errors)]
    return float(kept.mean()) if len(kept) else None


def _standard_error(errors: np.ndarray) -> float | None:
    kept = errors[~np.isnan(errors)]
    return float(kept.std(ddof=1) / math.sqrt(len(kept))) if len(kept) > 1 else None


def forecast(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    horizon: int,
    start: int | None = None,
    samples: int = 100,
    quantiles: Sequence[float] = QUANTILES,
    means: bool = False,
    seed: int = 0,
) -> Forecast:
    r"""Filter the first frames of every sequence, then let the model go on.

    .. math:: z^s_{\le T_0} \sim \hat p(z \mid x_{\le T_0}), \qquad
        (z^s_t, x^s_t) \sim p(z_t, x_t \mid z^s_{<t}, x_{\le T_0}, x^s_{T_0 < \cdot < t})

    The mean is that of :math:`\mathbb{E}[x_t \mid z^s_{\le t}, \dots]`, quantiles are those of the
    draws.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split; sequences that do not reach beyond the start are left out.
        horizon: frames to forecast, H.
        start: frames seen, T_0; by default all but the last H of each sequence.
        samples: particles, and continuations of each sequence, S.
        quantiles: levels in [0, 1].
        means: frames take, and feed back, their mean given the latents; for grey values.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model, nothing to forecast, or levels that are none.
    """
    p, q = over_time(model, guide)
    if horizon < 1 or samples < 1 or not all(0 <= level <= 1 for level in quantiles):
        raise UsageError(
            f"cannot forecast {horizon} frames by {samples} samples with quantiles "
            f"{', '.join(map(str, quantiles))}; the first two must be >= 1, quantiles in [0, 1]"
        )
    starts = sequences.lengths - horizon if start is None else np.full(len(sequences), start)
    rows = np.flatnonzero((starts > 0) & (starts < sequences.lengths))
    if not len(rows):
        raise UsageError(
            f"no sequence of {sequences.lengths.max()} frames or less can be forecast "
            f"{horizon} frames ahead from frame {start or 'length - horizon'}; give another start"
        )
    chosen, starts = sequences.select(rows), starts[rows]
    shape = (len(rows), horizon, sequences.x.shape[1])
    levels, even = torch.tensor(quantiles), torch.tensor(1 / samples)
    arrays = [np.empty(shape, np.float32) for _ in range(2)]
    mean, draw, between = (*arrays, np.empty((len(levels), *shape), np.float32))
    device = next(p.parameters()).device
    with torch.no_grad(), forked(seed, "forecast"):
        for part in portions(chosen, samples):
            batch = chosen.batch(part).to(device)
            seen = beginning(batch, torch.from_numpy(starts[part]).to(device))
            going_on = continuations(p, q, seen, samples, samples, means=means)
            for ahead, (law, x) in zip(range(horizon), going_on, strict=False):
                mean[part, ahead] = expected(law, x.shape[:2]).mean(0).cpu().numpy()
                draw[part, ahead] = x[0].cpu().numpy()
                found = weighted_quantiles(x, even.expand(x.shape[:2]), levels)
                between[:, part, ahead] = found.cpu().numpy()
    errors, copied = _errors(chosen, starts, mean)
    return Forecast(rows, starts, mean, levels.numpy(), between, draw, errors, copied)


def _errors(
    sequences: Sequences, starts: np.ndarray, mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of the forecast and of repeating the last frame seen, both (N', H)."""
    errors, copied = np.full((2, *mean.shape[:2]), np.nan)
    for row, start in enumerate(starts):
        batch, now = sequences.batch([row]), slice(start, start + mean.shape[1])
        came, last = batch.x[0, now].numpy(), batch.x[0, start - 1].numpy()
        seen = np.ones_like(came) if batch.seen is None else batch.seen[0, now].numpy()
        reached = len(came)
        errors[row, :reached] = (seen * (came - mean[row, :reached]) ** 2).sum(-1)
        copied[row, :reached] = (seen * (came - last) ** 2).sum(-1)
    return errors, copied


def continuations(
    model: SequenceModel,
    guide: SequenceGuide,
    seen: Batch,
    particles: int,
    samples: int,
    *,
    means: bool,
) -> Iterator[tuple[TorchDistribution, Tensor]]:
    """Frame after frame that the model draws once a batch has ended, without end.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        seen: B sequences, each of which goes on from its own end.
        particles: of the filter, K.
        samples: continuations, S; particles are chosen for them by weight.
        means: frames take their mean given the latents.

    Yields:
        The law of the frame, of batch shape (S, B) or less, and the frame, (S, B, D).
    """
    filtered = ParticleFilter(model, guide, seen, particles).run()
    shape = torch.Size([samples, seen.size])
    going = filtered.p.chosen(systematic(filtered.weights, samples))
    going.encoded = None
    t = seen.lengths
    while True:
        law, values = _draw_frame(model, going, t, shape, means)
        if seen.seen is not None:
            values |= {seen_key(name): torch.ones_like(seen.seen[:, 0]) for name in model.observed}
        going.push(values)
        yield law, values["x"]
        t = t + 1


def _draw_frame(
    model: SequenceModel, particles: Particles, t: Tensor, shape: torch.Size, means: bool
) -> tuple[TorchDistribution, dict[str, Tensor]]:
    """Every site of frame t, each (S, B, D), and the law of the observation."""
    values: dict[str, Tensor] = {}
    laws: dict[str, TorchDistribution] = {}

    def draw(name: str, law: TorchDistribution) -> Tensor:
        if name in model.observed:
            laws[name] = law
        take_mean = means and name in model.observed
        values[name] = expected(law, shape) if take_mean else law.expand(shape).sample()
        return values[name]

    particles.step(draw, t)
    return laws["x"], values


def continued(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    num: int,
    prefix: int,
    length: int,
    particles: int = 100,
    means: bool = False,
    seed: int = 0,
) -> Tensor:
    """Sequences that begin as those of a split do and go on as the model draws, (num, length, D).

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split; those with at least `prefix` frames take turns.
        num: how many.
        prefix: frames that are those of the split.
        length: frames of each, those included.
        particles: of the filter by which the latents of the prefix are chosen.
        means: frames take, and feed back, their mean given the latents; for grey values.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model, nothing to draw, or no sequence that is long enough.
    """
    p, q = over_time(model, guide)
    long = np.flatnonzero(sequences.lengths >= prefix)
    if num < 1 or not 0 < prefix < length or not len(long):
        raise UsageError(
            f"cannot draw {num} sequences of {length} frames after {prefix}: give at least one "
            f"sequence, and a prefix below the length and up to {sequences.lengths.max()} frames, "
            "which the longest sequence has"
        )
    chosen = sequences.select(np.resize(long, num))
    x = torch.empty(num, length, sequences.x.shape[1])
    device = next(p.parameters()).device
    with torch.no_grad(), forked(seed, "continued"):
        for rows in portions(chosen, particles):
            batch = chosen.batch(rows).to(device)
            seen = beginning(batch, torch.full_like(batch.index, prefix))
            x[rows, :prefix] = seen.x.cpu()
            going_on = continuations(p, q, seen, particles, 1, means=means)
            for t, (_, frame) in zip(range(prefix, length), going_on, strict=False):
                x[rows, t] = frame[0].cpu()
    return x
