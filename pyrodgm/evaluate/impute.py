"""What was in the frames, or features of frames, that are missing?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.distributions.missing import given_seen
from pyrodgm.errors import DataError, UsageError
from pyrodgm.evaluate.forecast import QUANTILES
from pyrodgm.evaluate.particles import (
    NUMBERS_AT_ONCE,
    ROWS_AT_ONCE,
    Particles,
    weighted_quantiles,
)
from pyrodgm.evaluate.smc import ParticleFilter, over_time
from pyrodgm.guides import Guide, SequenceGuide
from pyrodgm.models import Model, SequenceModel
from pyrodgm.seeds import forked


class CompletingFilter(ParticleFilter):
    r"""A particle filter whose particles complete the frames as they go.

    .. math:: x^k_{t,\text{missing}} \sim
        p(x_{t,\text{missing}} \mid x_{t,\text{seen}}, z^k_{\le t}, x^k_{<t}), \qquad
        W^k_t \propto W^k_{t-1} \frac{p(x_{t,\text{seen}}, z^k_t \mid z^k_{<t}, x^k_{<t})}
        {q(z^k_t \mid z^k_{<t}, x)}

    Args:
        model: a sequence model.
        guide: a sequence guide; it sees the training mean where a feature is missing.
        batch: B sequences of which features are missing.
        particles: per sequence, K.
        means: missing features take their mean instead of a draw.

    Attributes:
        frames: completed frames (K, B, D), of the frames that miss something, by number.
    """

    def __init__(
        self,
        model: SequenceModel,
        guide: SequenceGuide,
        batch: Batch,
        particles: int,
        *,
        means: bool,
    ) -> None:
        super().__init__(model, guide, batch, particles)
        self.p = Particles(model, replace(batch, seen=None), particles)  # its past is complete
        self.means = means
        self.frames: dict[int, Tensor] = {}
        self.ancestors: dict[int, Tensor] = {}

    def fed_back(self, law: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """The frame with its missing features drawn, (K, B, D)."""
        if seen is None or bool(seen.all()):
            return x
        told = given_seen(law, x, seen)
        drawn = told.mean if self.means else told.expand(self.shape).sample()
        completed = torch.where(seen, x, drawn).expand(*self.shape, -1)
        self.frames[self.t] = completed
        return completed

    def choose(self, index: Tensor) -> None:
        """Remember who descends from whom."""
        super().choose(index)
        self.ancestors[self.t] = index

    def paths(self) -> dict[int, Tensor]:
        """Completed frames along the ancestors of the particles at the end, by frame."""
        found, index = {}, torch.arange(self.shape[0], device=self.batch.x.device)
        index = index[:, None].expand(self.shape)
        columns = torch.arange(self.shape[1], device=index.device)
        for t in reversed(range(self.t)):
            if t in self.frames:
                found[t] = self.frames[t][index, columns]
            if t in self.ancestors:
                index = self.ancestors[t].gather(0, index)
        return found


@dataclass(frozen=True)
class Imputation:
    """Sequences with their missing features filled in, stored end to end.

    Args:
        x: observed values as they were, and means of the missing ones, (sum of lengths, D).
        seen: True where a feature was observed, (sum of lengths, D).
        levels: of the quantiles, (Q,).
        quantiles: of every feature, (Q, sum of lengths, D); observed values where there is one.
        lengths: frames of each sequence, (N,).
    """

    x: np.ndarray
    seen: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    lengths: np.ndarray

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
    quantiles: Sequence[float] = QUANTILES,
    means: bool = False,
    seed: int = 0,
) -> Imputation:
    r"""Fill in what is missing, given everything that was seen, before and after.

    Means and quantiles are those of the ancestral paths of the particles at a sequence's end, with
    their weights, so of :math:`p(x_{\text{missing}} \mid x_{\text{seen}})`: smoothing, not
    filtering. Where a sequence is long, few ancestors are left of its early frames, and their
    quantiles are coarse; more samples help.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: with missing features.
        samples: particles K.
        quantiles: levels in [0, 1].
        means: missing features take, and feed back, their mean given the latents; for grey values.
        seed: of the draws; the global generator is left alone.

    Raises:
        DataError: nothing is missing.
        UsageError: no sequence model, no samples, or levels that are none.
        CompatibilityError: the model's frames cannot be completed.

    Reference: Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space
    models, 1996, section 3.
    """
    p, q = over_time(model, guide)
    if samples < 1 or not all(0 <= level <= 1 for level in quantiles):
        raise UsageError(f"samples is {samples}, quantiles {quantiles}; give at least 1, in [0, 1]")
    if not sequences.has_missing:
        raise DataError("nothing is missing in these sequences: there is nothing to fill in")
    device, levels = next(p.parameters()).device, torch.tensor(quantiles)
    seen = ~sequences.x.isnan()
    filled = sequences.x.repeat(1 + len(levels), 1, 1)
    with torch.no_grad(), forked(seed, "impute"):
        for rows in _portions(sequences, samples):
            batch = sequences.batch(rows).to(device)
            found = CompletingFilter(p, q, batch, samples, means=means)
            found.run()
            for t, frame in found.paths().items():
                there = batch.mask[:, t].cpu()
                places = torch.from_numpy(sequences.starts[rows])[there] + t
                summary = _summary(frame, found.weights, levels).to(filled)[:, there]
                filled[:, places] = torch.where(seen[places], filled[:, places], summary)
    numbers = filled.numpy()
    return Imputation(numbers[0], seen.numpy(), levels.numpy(), numbers[1:], sequences.lengths)


def _summary(frame: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Mean and quantiles of a completed frame (K, B, D), (1 + Q, B, D)."""
    mean = torch.einsum("kb,kbd->bd", weights.to(frame), frame)
    return torch.cat([mean[None], weighted_quantiles(frame, weights, levels)])


def _portions(sequences: Sequences, samples: int) -> list[np.ndarray]:
    """Rows that are completed together; every particle keeps its frames."""
    frames = NUMBERS_AT_ONCE // (samples * sequences.x.shape[1])
    return evaluation_batches(sequences.lengths, max(1, min(frames, ROWS_AT_ONCE)))
