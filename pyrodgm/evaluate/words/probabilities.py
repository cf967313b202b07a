"""Probabilities of words in a corpus, and under a model given some tokens of a frame."""

from __future__ import annotations

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.smc import THRESHOLD, ParticleFilter
from pyrodgm.evaluate.passes import drawing, over_time
from pyrodgm.guides import Guide
from pyrodgm.models import Model

PSEUDO_COUNT = 0.5  # added to every word, so that unseen words have positive probability


def smoothed(counts: np.ndarray, *, without: float = 0) -> np.ndarray:
    """Shares of words smoothed by a pseudo-count, (D,).

    Args:
        counts: tokens of each word, (D,).
        without: tokens to leave out of each word's own share.
    """
    total = counts.sum() - without + PSEUDO_COUNT * len(counts)
    return ((counts - without).clip(0) + PSEUDO_COUNT) / total


def word_probabilities(
    model: Model,
    guide: Guide,
    counts: Tensor,
    *,
    draws: int = 1,
    weighted: bool = False,
    conditions: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    r"""The probability of every word in every frame of counts, and in the frame after the last.

    .. math:: \sum_k W^k_t\, p(w \mid z^k_t, x_{<t}), \qquad
        z^k_{\le T} \sim q(z \mid x), \; z^k_{T+1} \sim p(z_{T+1} \mid z^k_{\le T}, x_{\le T})

    For any weights, it is a distribution over words that depends on these counts alone, so its
    score on other counts is a valid one.

    Args:
        model: a sequence model of counts.
        guide: a sequence guide.
        counts: one sequence, (T, D).
        draws: paths of the latents, K.
        weighted: whether the weights are those of a particle filter,
            `pyrodgm.engine.smc.ParticleFilter`, which converges to the posterior as K grows; else
            they are equal.
        conditions: of these frames and the next, (T + 1, U); with (T, U) the last is repeated.
        seed: of the draws; the global generator is left alone.

    Returns:
        (T + 1, D), rows that add up to one.

    Raises:
        UsageError: no sequence model with its guide.
    """
    p, q = over_time(model, guide)
    along = _along(counts.to(next(p.parameters())), conditions)
    batch = along.first(len(counts))
    with drawing(p, seed, "word chances"):
        reader = _Reader(p, q, batch, draws, threshold=THRESHOLD if weighted else 0.0)
        reader.p.encoded = p.encode(along)
        found = []
        for _ in range(batch.length):
            reader.advance()
            found.append(reader.probabilities(reader.distribution, weighted))
        _, ahead = reader.ahead()
        found.append(reader.probabilities(ahead, weighted))
    return torch.stack(found).cpu().numpy()


def _along(counts: Tensor, conditions: np.ndarray | None) -> Batch:
    """One sequence of counts (T, D) and the frame after it, with their conditions."""
    x = torch.cat([counts, torch.zeros_like(counts[:1])])[None]
    if conditions is None:
        return Batch.of(x)
    given = torch.from_numpy(conditions).to(x.device)
    given = torch.cat([given, given[-1:]])[: len(counts) + 1]
    return Batch.of(x, given[None])


class _Reader(ParticleFilter):
    """A particle filter that stores the distribution of each frame given the latents."""

    distribution: TorchDistribution

    def fed_back(self, distribution: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        self.distribution = distribution
        return super().fed_back(distribution, x, seen)

    def probabilities(self, words: TorchDistribution, weighted: bool) -> Tensor:
        """The mixture over particles of the probabilities of words, (D,)."""
        mean = words.mean.double()
        each = (mean / mean.sum(-1, keepdim=True)).expand(*self.shape, -1)
        weights = self.weights if weighted else torch.full_like(self.weights, 1 / self.shape[0])
        return torch.einsum("kb,kbd->d", weights, each)
