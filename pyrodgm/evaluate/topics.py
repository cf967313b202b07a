"""What is a corpus about? The words of every topic, and what a model expects to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.smc import THRESHOLD, ParticleFilter, over_time
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.seeds import forked

PRIOR_TOKENS = 0.01  # pseudo-tokens of `contrasting` for each token of the corpus


def top_words(scores: np.ndarray, words: Sequence[str], num: int = 10) -> list[list[str]]:
    """The words with the largest scores, best first; ties by place in the vocabulary.

    Args:
        scores: of every word in every topic, (J, D), such as weights or `distinctive`.
        words: the vocabulary, D of them.
        num: words per topic.

    Raises:
        UsageError: another number of words than of columns.

    >>> top_words(np.array([[0.1, 2.0, 0.1]]), ["tax", "war", "corn"], 2)
    [['war', 'tax']]
    """
    if len(words) != scores.shape[-1]:
        raise UsageError(f"{len(words)} words for {scores.shape[-1]} columns of scores")
    return [[words[int(place)] for place in row] for row in top(scores, num)]


def top(values: np.ndarray, num: int) -> np.ndarray:
    """Places of the largest values in the last dimension, (..., num); ties by place."""
    descending = -values.astype(np.float64)  # unsigned counts have no negative
    return np.argsort(descending, axis=-1, kind="stable")[..., :num]


def distinctive(weights: np.ndarray, share: np.ndarray) -> np.ndarray:
    r"""How much every word does to tell a unit from the other units, (J, D), in nats.

    .. math::
        s_{jw} = p_j(w) \log \frac{p_j(w)}{p(w)}, \qquad
        p_j(w) \propto p(w)\, e^{W_{jw} - \frac{1}{J - 1} \sum_{i \ne j} W_{iw}}

    A unit adds its weights W to the logits of the words. Many units are on at a time, so what they
    all add tells nothing and is taken away. The lift p_j(w) / p(w) alone is largest for the words
    with the largest weights, which are often rare ones; the probability alone for those that are
    frequent everywhere. Summed over words this is the divergence of the unit.

    Args:
        weights: what each unit adds to the logits, W, (J, D).
        share: p, the share of each word in the corpus, (D,), positive.

    Reference: pointwise divergence of Tomokiyo and Hurst, A language model approach to keyphrase
    extraction, 2003, equation 3.
    """
    others = (weights.sum(0) - weights) / max(len(weights) - 1, 1)
    logits = np.log(share) + weights - others
    log_topic = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return np.exp(log_topic) * (log_topic - np.log(share))


def contrasting(counts: np.ndarray, on: np.ndarray) -> np.ndarray:
    r"""How surely every word is more frequent where a unit is on than where it is off, (J, D).

    .. math::
        \frac{l(y) - l(m)}{\sqrt{1 / y_w + 1 / m_w}}, \qquad
        l(y) = \log \frac{y_w}{\sum_v y_v - y_w}

    where y and m count each word with the unit on and off, both with a pseudo-count in proportion
    to the word's share, one for every hundred tokens.

    Args:
        counts: tokens of each word in each frame, (T, D); words never read score zero.
        on: the odds that each unit is on, (T, J).

    Reference: Monroe, Colaresi and Quinn, Fightin' words, 2008, equations 16, 20 and 22.
    """
    total = counts.sum(0)
    prior = PRIOR_TOKENS * total
    with_unit = on.T @ counts
    y, m = with_unit + prior, total - with_unit + prior
    read = total > 0
    y, m = y[:, read], m[:, read]
    scores = np.zeros((on.shape[1], len(total)))
    scores[:, read] = (_log_odds(y) - _log_odds(m)) / np.sqrt(1 / y + 1 / m)
    return scores


def _log_odds(counts: np.ndarray) -> np.ndarray:
    return np.log(counts) - np.log(counts.sum(-1, keepdims=True) - counts)


def word_chances(
    model: Model,
    guide: Guide,
    counts: Tensor,
    *,
    draws: int = 1,
    weighted: bool = False,
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
        weighted: by the weights of a particle filter, `pyrodgm.evaluate.smc.ParticleFilter`, so
            that paths come closer to those of the posterior as K grows; else all alike.
        seed: of the draws; the global generator is left alone.

    Returns:
        (T + 1, D), rows that add up to one.

    Raises:
        UsageError: no sequence model with its guide.
    """
    p, q = over_time(model, guide)
    batch = Batch.of(counts.to(next(p.parameters()))[None])
    with torch.no_grad(), forked(seed, "word chances"):
        reader = _Reader(p, q, batch, draws, threshold=THRESHOLD if weighted else 0.0)
        found = []
        for _ in range(batch.length):
            reader.advance()
            found.append(reader.chances(reader.law, weighted))
        _, ahead = reader.ahead()
        found.append(reader.chances(ahead, weighted))
    return torch.stack(found).cpu().numpy()


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
