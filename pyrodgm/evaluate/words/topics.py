"""Topics of a corpus: the words of every latent unit, and when it is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyrodgm.data.base import Sequences
from pyrodgm.data.evaluation import Data
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.latents.activity import expected_latents
from pyrodgm.evaluate.latents.dictionary import read_dictionary
from pyrodgm.evaluate.words.contrasts import coherence, contrasted, contrasting, near_by
from pyrodgm.evaluate.words.probabilities import smoothed
from pyrodgm.guides import Guide
from pyrodgm.models import Model

LEAST_MOVE = 0.05  # smallest standard deviation of a topic's probability about nearby frames


def top_words(scores: np.ndarray, words: Sequence[str], num: int = 10) -> list[list[str]]:
    """The words with the largest scores, best first; ties by index in the vocabulary.

    Args:
        scores: of every word in every topic, (J, D), such as weights or `distinctive`.
        words: the vocabulary, D of them.
        num: words per topic.

    Raises:
        UsageError: the number of words differs from the number of columns.

    >>> top_words(np.array([[0.1, 2.0, 0.1]]), ["tax", "war", "corn"], 2)
    [['war', 'tax']]
    """
    if len(words) != scores.shape[-1]:
        raise UsageError(f"{len(words)} words for {scores.shape[-1]} columns of scores")
    return [[words[int(place)] for place in row] for row in top(scores, num)]


def top(values: np.ndarray, num: int) -> np.ndarray:
    """Indices of the largest values in the last dimension, (..., num); ties by index."""
    descending = -values.astype(np.float64)  # unsigned counts have no negative
    return np.argsort(descending, axis=-1, kind="stable")[..., :num]


def distinctive(weights: np.ndarray, share: np.ndarray) -> np.ndarray:
    r"""Contribution of every word to the difference of a unit from the others, (J, D), in nats.

    .. math::
        s_{jw} = p_j(w) \log \frac{p_j(w)}{p(w)}, \qquad
        p_j(w) \propto p(w)\, e^{W_{jw} - \frac{1}{J - 1} \sum_{i \ne j} W_{iw}}

    A unit adds its weights W to the logits of the words. Many units are on at the same time, so the
    mean weight of the other units is subtracted. The lift p_j(w) / p(w) alone would favour words
    with the largest weights, which are often rare; the probability alone would favour words that
    are frequent everywhere. The sum over words is the KL divergence of the unit.

    Args:
        weights: contribution of each unit to the logits, W, (J, D).
        share: p, the share of each word in the corpus, (D,), positive.

    Reference: pointwise divergence of Tomokiyo and Hurst, A language model approach to keyphrase
    extraction, 2003, equation 3.
    """
    others = (weights.sum(0) - weights) / max(len(weights) - 1, 1)
    logits = np.log(share) + weights - others
    log_topic = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return np.exp(log_topic) * (log_topic - np.log(share))


def most_telling(scores: np.ndarray, words: np.ndarray, num: int) -> np.ndarray:
    """The topics with the highest scores, without repetition, (num,).

    Topics that share more than a fifth of their words with an earlier one come after all others.

    Args:
        scores: of every topic, (J,).
        words: indices of each topic's words in the vocabulary, (J, n).
        num: number of topics.

    >>> words = np.array([[1, 2, 3, 4, 5], [5, 4, 7, 8, 9], [0, 7, 8, 6, 1]])
    >>> most_telling(np.array([0.3, 0.2, 0.1]), words, 2)
    array([0, 2])
    """
    first: list[int] = []
    again: list[int] = []
    for topic in np.argsort(-scores, kind="stable"):
        shared = [len(np.intersect1d(words[topic], words[other])) for other in first]
        (again if max(shared, default=0) > words.shape[1] / 5 else first).append(int(topic))
    return np.array([*first, *again][:num])


@dataclass(frozen=True)
class Topic:
    """The topic of one latent unit.

    Args:
        unit: its number.
        probability: of being on in every observed frame of the first sequence, (T,).
        coherence: of its words, see `coherence`; 0 if the unit is constant.
        words: more frequent in its frames than nearby, by `contrasting`.
        own_words: contributed by this unit and not by others, see `distinctive`.
        heavy_words: with the largest weights, as published; often rare ones.
    """

    unit: int
    probability: np.ndarray
    coherence: float
    words: list[str]
    own_words: list[str]
    heavy_words: list[str]


def topics(
    model: Model,
    guide: Guide,
    splits: Data,
    *,
    split: str = "train",
    num: int = 10,
    num_words: int = 10,
    draws: int = 20,
    seed: int = 0,
) -> list[Topic]:
    """The units of the first sequence of a split that have coherent words, best first.

    Units are ranked by `coherence` times `contrasted`.

    Args:
        model: a model of words, with binary latents that add to the logits of words.
        guide: the guide q.
        splits: the data; its facts name the words.
        split: name of the split.
        num: largest number of topics.
        num_words: words per topic.
        draws: number of paths averaged over for the probabilities.
        seed: of the draws.

    Raises:
        UsageError: the data has no names of words, or the model no such units.
    """
    dictionary = read_dictionary(model, splits.info.dim)
    if not splits.info.words or dictionary is None or dictionary.site not in model.latents:
        raise UsageError(
            f"{type(model).__name__} on '{splits.info.name}' has no topics; topics need the names "
            "of words, and binary latents that contribute linearly to the logits of words"
        )
    p = expected_latents(model, guide, splits[split], draws=draws, seed=seed)[dictionary.site]
    counts = seen_counts(splits[split])
    p = p[: len(counts)]
    share = smoothed(np.asarray(splits.info.mean) * splits.info.num_frames)
    scores = contrasting(counts, p), distinctive(dictionary.weights, share), dictionary.weights
    found = [top_words(score, splits.info.words, num_words) for score in scores]
    coming = top(scores[0], num_words)
    moves = p - near_by(p)
    together = np.where(moves.std(0) < LEAST_MOVE, 0.0, coherence(counts, coming))
    return [
        Topic(int(unit), p[:, unit], float(together[unit]), *(words[unit] for words in found))
        for unit in most_telling(together * contrasted(p), coming, num)
    ]


def seen_counts(sequences: Sequences) -> np.ndarray:
    """The counts of the first sequence up to its last observed frame, (T, D).

    All frames if none was observed.
    """
    batch = sequences.batch([0])
    seen = batch.mask if batch.seen is None else batch.seen.any(-1)
    frames = seen[0].nonzero()
    length = int(frames.max()) + 1 if len(frames) else batch.length
    return batch.x[0, :length].cpu().numpy()
