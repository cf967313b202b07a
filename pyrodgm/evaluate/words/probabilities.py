"""How probable is every word? In a corpus, and to a model that has read some of a frame."""

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

PSEUDO_COUNT = 0.5  # of every word: one that is never read may still be


def smoothed(counts: np.ndarray, *, without: float = 0) -> np.ndarray:
    """Shares of words, each a pseudo-count up so that none is impossible, (D,).

    Args:
        counts: tokens of each word, (D,).
        without: tokens to leave out of each word's own share.
    """
    total = counts.sum() - without + PSEUDO_COUNT * len(counts)
    return ((counts - without).clip(0) + PSEUDO_COUNT) / total


def word_chances(
    model: Model,
    guide: Guide,
    counts: Tensor,
    *,
    draws: int = 1,
    weighted: bool = False,
    conditions: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    r"""The chance of every word in every frame of counts, and in the frame after the last.

    .. math:: \sum_k W^k_t\, p(w \mid z^k_t, x_{<t}), \qquad
        z^k_{\le T} \sim q(z \mid x), \; z^k_{T+1} \sim p(z_{T+1} \mid z^k_{\le T}, x_{\le T})

    Whatever the weights, it is a distribution over words that has seen these counts only, so its
    score on others is an honest one.

    Args:
        model: a sequence model of counts.
        guide: a sequence guide.
        counts: one sequence, (T, D).
        draws: paths of the latents, K.
        weighted: by the weights of a particle filter, `pyrodgm.engine.smc.ParticleFilter`, so
            that paths come closer to those of the posterior as K grows; else all alike.
        conditions: what the model is given of these frames and the next, (T + 1, U); where the
            last is not there, the one before stands for it.
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
            found.append(reader.chances(reader.law, weighted))
        _, ahead = reader.ahead()
        found.append(reader.chances(ahead, weighted))
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
    """A particle filter that keeps the law of each frame given the latents."""

    law: TorchDistribution

    def fed_back(self, law: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        self.law = law
        return super().fed_back(law, x, seen)

    def chances(self, law: TorchDistribution, weighted: bool) -> Tensor:
        """The mixture over particles of the chances of words, (D,)."""
        mean = law.mean.double()
        each = (mean / mean.sum(-1, keepdim=True)).expand(*self.shape, -1)
        weights = self.weights if weighted else torch.full_like(self.weights, 1 / self.shape[0])
        return torch.einsum("kb,kbd->d", weights, each)
