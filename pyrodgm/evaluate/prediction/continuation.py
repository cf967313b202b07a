"""Continuations of sequences: draws from the model that start at filtered particles."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.particles import Particles, beginning, systematic
from pyrodgm.engine.past import seen_key
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.passes import drawing, over_time, portions
from pyrodgm.evaluate.prediction.frame_chains import frames_ahead
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import FrameEnergyModel, Model, StepModel


def ahead(
    model: Model,
    guide: Guide,
    seen: Batch,
    along: Batch,
    *,
    particles: int,
    samples: int,
    means: bool,
) -> Iterator[tuple[TorchDistribution, Tensor]]:
    """Frames after the end of a batch, of any model of sequences; see `continuations`.

    Raises:
        UsageError: no sequence model.
    """
    if isinstance(model, FrameEnergyModel):
        return frames_ahead(model, seen, samples)
    p, q = over_time(model, guide)
    return continuations(p, q, seen, along, particles, samples, means=means)


def continuations(
    model: StepModel,
    guide: StepGuide,
    seen: Batch,
    along: Batch,
    particles: int,
    samples: int,
    *,
    means: bool,
) -> Iterator[tuple[TorchDistribution, Tensor]]:
    """Frames drawn by the model after the end of a batch, one after the other.

    The iterator is endless, or ends with the known conditions if the model takes any.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        seen: B sequences, each continued from its own end.
        along: the same sequences and future frames; only its conditions are used.
        particles: of the filter, K.
        samples: continuations, S; their particles are drawn by weight.
        means: whether frames take their mean given the latents.

    Yields:
        The distribution of the frame, of batch shape (S, B) or less, and the frame, (S, B, D).
    """
    filtered = ParticleFilter(model, guide, seen, particles).run()
    shape = torch.Size([samples, seen.size])
    going = filtered.p.chosen(systematic(filtered.weights, samples))
    going.encoded = model.encode(along)
    t = seen.lengths
    while True:
        distribution, values = _draw_frame(model, going, t, shape, means)
        if seen.seen is not None:
            values |= {seen_key(name): torch.ones_like(seen.seen[:, 0]) for name in model.observed}
        going.push(values)
        yield distribution, values["x"]
        t = t + 1


def _draw_frame(
    model: StepModel, particles: Particles, t: Tensor, shape: torch.Size, means: bool
) -> tuple[TorchDistribution, dict[str, Tensor]]:
    """Every site of frame t, each (S, B, D), and the distribution of the observation."""
    values: dict[str, Tensor] = {}
    distributions: dict[str, TorchDistribution] = {}

    def draw(name: str, distribution: TorchDistribution) -> Tensor:
        if name in model.observed:
            distributions[name] = distribution
        take_mean = means and name in model.observed
        values[name] = (
            expected(distribution, shape) if take_mean else distribution.expand(shape).sample()
        )
        return values[name]

    particles.step(draw, t)
    return distributions["x"], values


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
    """Sequences that start with frames of a split and are continued by the model.

    They have shape (num, length, D), in the scale of the data. Missing values of a prefix are NaN.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split; sequences with at least `prefix` frames are used in turn. If frames
            have conditions, these are those of the sequence, which needs `length` frames.
        num: number of sequences to draw.
        prefix: frames taken from the split.
        length: frames of each, including the prefix.
        particles: of the filter that draws the latents of the prefix.
        means: whether frames take, and feed back, their mean given the latents; for grey values.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model, nothing to draw, or no sequence is long enough.
    """
    check_whole(num=num, length=length, prefix=prefix)
    needed = prefix if sequences.conditions is None else length
    long = np.flatnonzero(sequences.lengths >= needed)
    if prefix >= length or not len(long):
        bound = "" if sequences.conditions is None else "a length "
        raise UsageError(
            f"cannot draw {num} sequences of {length} frames after {prefix}: give a prefix "
            f"below the length and {bound}up to {sequences.lengths.max()} frames, the length of "
            "the longest sequence"
        )
    chosen = sequences.select(np.resize(long, num))
    x = torch.empty(num, length, sequences.x.shape[1])
    with drawing(model, seed, "continued") as device:
        for rows in portions(chosen, particles):
            batch = chosen.batch(rows).to(device)
            seen = beginning(batch, torch.full_like(batch.index, prefix))
            known = seen.x if seen.seen is None else seen.x.where(seen.seen, math.nan)
            x[rows, :prefix] = known.cpu()
            going_on = ahead(model, guide, seen, batch, particles=particles, samples=1, means=means)
            for t, (_, frame) in zip(range(prefix, length), going_on, strict=False):
                x[rows, t] = frame[0].cpu()
    return sequences.uncentred(x)
