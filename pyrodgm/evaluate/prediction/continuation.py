"""How does a sequence go on? Draws from the model that begin where filtered particles are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.particles import Particles, beginning, expected, systematic
from pyrodgm.engine.past import seen_key
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.passes import drawing, over_time, portions
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import Model, StepModel


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
    """Frame after frame that the model draws once a batch has ended.

    Without end, or as far as conditions are known, if the model takes any.

    Args:
        model: a sequence model.
        guide: a sequence guide.
        seen: B sequences, each of which goes on from its own end.
        along: the same sequences and what comes, for its conditions; nothing else is looked at.
        particles: of the filter, K.
        samples: continuations, S; particles are chosen for them by weight.
        means: frames take their mean given the latents.

    Yields:
        The law of the frame, of batch shape (S, B) or less, and the frame, (S, B, D).
    """
    filtered = ParticleFilter(model, guide, seen, particles).run()
    shape = torch.Size([samples, seen.size])
    going = filtered.p.chosen(systematic(filtered.weights, samples))
    going.encoded = model.encode(along)
    t = seen.lengths
    while True:
        law, values = _draw_frame(model, going, t, shape, means)
        if seen.seen is not None:
            values |= {seen_key(name): torch.ones_like(seen.seen[:, 0]) for name in model.observed}
        going.push(values)
        yield law, values["x"]
        t = t + 1


def _draw_frame(
    model: StepModel, particles: Particles, t: Tensor, shape: torch.Size, means: bool
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

    They are numbers of the data, uncentred.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split; those with at least `prefix` frames take turns, and where frames come
            with conditions, which are then those of the sequence, those with at least `length`.
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
    needed = prefix if sequences.conditions is None else length
    long = np.flatnonzero(sequences.lengths >= needed)
    if num < 1 or not 0 < prefix < length or not len(long):
        bound = "" if sequences.conditions is None else "a length "
        raise UsageError(
            f"cannot draw {num} sequences of {length} frames after {prefix}: give at least one "
            f"sequence, and a prefix below the length and {bound}up to {sequences.lengths.max()} "
            "frames, which the longest sequence has"
        )
    chosen = sequences.select(np.resize(long, num))
    x = torch.empty(num, length, sequences.x.shape[1])
    with drawing(p, seed, "continued") as device:
        for rows in portions(chosen, particles):
            batch = chosen.batch(rows).to(device)
            seen = beginning(batch, torch.full_like(batch.index, prefix))
            x[rows, :prefix] = seen.x.cpu()
            going_on = continuations(p, q, seen, batch, particles, 1, means=means)
            for t, (_, frame) in zip(range(prefix, length), going_on, strict=False):
                x[rows, t] = frame[0].cpu()
    return sequences.uncentred(x)
