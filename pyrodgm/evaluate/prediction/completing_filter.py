"""A particle filter that completes frames: what was missing, as each particle has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions.missing import given_seen
from pyrodgm.engine.particles import Particles
from pyrodgm.engine.smc import ParticleFilter
from pyrodgm.guides import StepGuide
from pyrodgm.models import StepModel

LAG = 10  # frames after a gap that tell what was in it
ENOUGH = 0.1  # of the particles, whose completions must be there still, effectively


class Completion:
    """One frame completed by every particle, and what later frames tell about it.

    Later frames tell by choosing particles, and few may be left in the end: a completion then stays
    as it was when effectively a tenth of them were.

    Args:
        frame: completed, (K, B, D).

    Attributes:
        frame: along the ancestors of the particles as they are now.
        kept, weights: completions and their normalised weights, as long as there were enough.
    """

    def __init__(self, frame: Tensor) -> None:
        self.frame = self.kept = frame
        self.weights = frame.new_full(frame.shape[:2], 1 / len(frame))
        self._maker = torch.arange(len(frame), device=frame.device)[:, None].expand(frame.shape[:2])
        self._open = torch.ones_like(self._maker[0], dtype=torch.bool)
        self._is_new = True

    def choose(self, index: Tensor) -> None:
        """Go with the particles of an index (K, B)."""
        self.frame = self.frame[index, torch.arange(index.shape[1], device=index.device)]
        self._maker = self._maker.gather(0, index)

    def learn(self, weights: Tensor) -> None:
        """Take in the weights of the particles after one more frame, (K, B), normalised."""
        self._open &= (self.different(weights) >= ENOUGH * len(weights)) | self._is_new
        self._is_new = False
        self.kept = torch.where(self._open[:, None], self.frame, self.kept)
        self.weights = torch.where(self._open, weights.to(self.weights), self.weights)

    def different(self, weights: Tensor) -> Tensor:
        r"""How many completions there effectively are, (B,): 1 / sum of squared shares of each."""
        shares = torch.zeros_like(weights).scatter_add_(0, self._maker, weights)
        return 1 / shares.square().sum(0)


class CompletingFilter(ParticleFilter):
    r"""A particle filter whose particles complete the frames as they go.

    .. math:: x^k_{t,\text{missing}} \sim
        p(x_{t,\text{missing}} \mid x_{t,\text{seen}}, z^k_{\le t}, x^k_{<t}), \qquad
        W^k_t \propto W^k_{t-1} \frac{p(x_{t,\text{seen}}, z^k_t \mid z^k_{<t}, x^k_{<t})}
        {q(z^k_t \mid z^k_{<t}, x)}

    Args:
        model: a sequence model.
        guide: a sequence guide; it sees straight lines where features are missing, if they have an
            order.
        batch: B sequences of which features are missing.
        particles: per sequence, K.
        means: missing features take their mean instead of a draw.
        lag: how many frames after each tell what was in it, if particles last.
        ordered: whether a value may lie between two others; symbols do not.

    Attributes:
        frames: those completed that frames to come may tell about, by number.
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
        self.means = means
        self.lag = lag
        self.frames: dict[int, Completion] = {}

    def fed_back(self, law: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """The frame with its missing features drawn, (K, B, D)."""
        if seen is None or bool(seen.all()):
            return x
        told = given_seen(law, x, seen)
        drawn = told.mean if self.means else told.expand(self.shape).sample()
        completed = torch.where(seen, x, drawn).expand(*self.shape, -1)
        self.frames[self.t] = Completion(completed)
        return completed

    def choose(self, index: Tensor) -> None:
        """Completions go with their particles."""
        super().choose(index)
        for completion in self.frames.values():
            completion.choose(index)

    def advance(self) -> None:
        """Take in one frame, which tells about those completed before."""
        super().advance()
        for completion in self.frames.values():
            completion.learn(self.weights)

    def completions(self) -> Iterator[tuple[int, Completion]]:
        """Move on to the end; every completed frame, once no frame to come shall tell about it."""
        while self.t < self.batch.length:
            self.advance()
            yield from self.settled()

    def settled(self) -> Iterator[tuple[int, Completion]]:
        """Take out the completed frames that no frame to come shall tell about."""
        last = self.t - 1 if self.t == self.batch.length else self.t - 1 - self.lag
        for t in [t for t in self.frames if t <= last]:
            yield t, self.frames.pop(t)


def bridged(batch: Batch) -> Tensor:
    """Observations with a straight line over every gap of every feature, (B, T, D).

    At the ends of a sequence the nearest value that was seen; where there is none, as in the batch.
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
