"""A particle filter whose particles fill in missing values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions.missing import completion_log_prob, given_seen
from pyrodgm.engine.particles import Particles
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.guides import StepGuide
from pyrodgm.models import StepModel

LAG = 10  # later frames used to smooth a completed frame
ENOUGH = 0.1  # minimal effective share of completions that survive resampling


class Completion:
    """One frame completed by every particle, smoothed by later frames.

    Later frames act by resampling of particles, which reduces the number of different completions.
    Smoothing stops before their effective number falls below a tenth of the particles.

    Args:
        frame: completed, (K, B, D).

    Attributes:
        frame: completions along the ancestors of the current particles.
        kept, weights: completions and their normalised weights when smoothing stopped.
    """

    def __init__(self, frame: Tensor) -> None:
        self.frame = self.kept = frame
        self.weights = frame.new_full(frame.shape[:2], 1 / len(frame))
        self._maker = torch.arange(len(frame), device=frame.device)[:, None].expand(frame.shape[:2])
        self._open = torch.ones_like(self._maker[0], dtype=torch.bool)
        self._is_new = True

    def choose(self, index: Tensor) -> None:
        """Resample with the particles, by an index (K, B)."""
        self.frame = self.frame[index, torch.arange(index.shape[1], device=index.device)]
        self._maker = self._maker.gather(0, index)

    def learn(self, weights: Tensor) -> None:
        """Update with the normalised weights of the particles after one more frame, (K, B)."""
        self._open &= (self.different(weights) >= ENOUGH * len(weights)) | self._is_new
        self._is_new = False
        self.kept = torch.where(self._open[:, None], self.frame, self.kept)
        self.weights = torch.where(self._open, weights.to(self.weights), self.weights)

    def different(self, weights: Tensor) -> Tensor:
        r"""Effective number of different completions, (B,): 1 / sum of their squared weights."""
        shares = torch.zeros_like(weights).scatter_add_(0, self._maker, weights)
        return 1 / shares.square().sum(0)


class CompletingFilter(ParticleFilter):
    r"""A particle filter whose particles fill in missing values frame by frame.

    .. math:: x^k_{t,\text{missing}} \sim
        p(x_{t,\text{missing}} \mid x_{t,\text{seen}}, z^k_{\le t}, x^k_{<t}), \qquad
        W^k_t \propto W^k_{t-1} \frac{p(x_{t,\text{seen}}, z^k_t \mid z^k_{<t}, x^k_{<t})}
        {q(z^k_t \mid z^k_{<t}, x)}

    Args:
        model: a sequence model.
        guide: a sequence guide; ordered features are interpolated linearly in its input.
        batch: B sequences with missing features.
        particles: per sequence, K.
        means: whether missing features take their mean instead of a draw.
        lag: number of later frames used for smoothing, at most.
        ordered: whether features can be interpolated; symbols cannot.

    Attributes:
        frames: completed frames that are still being smoothed, by number.
    """

    def __init__(
        self,
        model: StepModel,
        guide: StepGuide,
        batch: Batch,
        particles: int,
        *,
        means: bool,
        lag: int = LAG,
        ordered: bool = True,
    ) -> None:
        whole = replace(batch, x=bridged(batch)) if ordered else batch
        super().__init__(model, guide, whole, particles)
        self.p = Particles(model, replace(batch, seen=None), particles)  # its past is complete
        self.shared = self.shared if batch.seen is None else ()  # the guide's past is not
        self.means = means
        self.lag = lag
        self.frames: dict[int, Completion] = {}

    def fed_back(self, distribution: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """The frame with its missing features drawn, (K, B, D)."""
        if seen is None or bool(seen.all()):
            return x
        given = given_seen(distribution, x, seen)
        drawn = given.mean if self.means else given.expand(self.shape).sample()
        completed = torch.where(seen, x, drawn).expand(*self.shape, -1)
        self.frames[self.t] = Completion(completed)
        return completed

    def log_seen(self, distribution: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """Nats of the observed features of a completed frame, (K, B) or less."""
        if seen is None:
            return distribution.log_prob(x)
        return completion_log_prob(distribution, x, seen)

    def choose(self, index: Tensor) -> None:
        """Resample particles and their completions."""
        super().choose(index)
        for completion in self.frames.values():
            completion.choose(index)

    def advance(self) -> None:
        """Advance by one frame, and smooth the frames completed before."""
        super().advance()
        for completion in self.frames.values():
            completion.learn(self.weights)

    def completions(self) -> Iterator[tuple[int, Completion]]:
        """Advance to the end; yields every completed frame once its smoothing window has closed."""
        while self.t < self.batch.length:
            self.advance()
            yield from self.settled()

    def settled(self) -> Iterator[tuple[int, Completion]]:
        """Remove and yield the completed frames whose smoothing window has closed."""
        last = self.t - 1 if self.t == self.batch.length else self.t - 1 - self.lag
        for t in [t for t in self.frames if t <= last]:
            yield t, self.frames.pop(t)


def bridged(batch: Batch) -> Tensor:
    """Observations with missing values interpolated linearly per feature, (B, T, D).

    At the ends of a sequence the nearest observed value is used; a feature without any stays as in
    the batch.
    """
    if batch.seen is None:
        return batch.x
    seen, length = batch.seen, batch.length
    t = torch.arange(length, device=seen.device)[:, None].expand_as(seen)
    before = torch.where(seen, t, -1).cummax(1).values
    after = torch.where(seen, t, length).flip(1).cummin(1).values.flip(1)
    before, after = before.where(before >= 0, after), after.where(after < length, before)
    first, last = (batch.x.gather(1, place.clamp(0, length - 1)) for place in (before, after))
    line = torch.lerp(first, last, ((t - before) / (after - before).clamp(min=1)).to(first))
    keep = seen | ~seen.any(1, keepdim=True)
    return torch.where(keep, batch.x, line).masked_fill(~batch.mask[..., None], 0)
