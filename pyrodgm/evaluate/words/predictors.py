"""Who predicts words well? A model and its guide, beside trivial predictors."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.words.probabilities import smoothed, word_chances
from pyrodgm.evaluate.words.scores import TOP, Corpus, Prediction, WordScore
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StepModel

EM_STEPS = 100

NAMES = {
    "guide": "this model, mean over draws of the guide",
    "weighted": "this model, particle filter",
    "unigram": "words of all frames",
    "previous frame": "words of the frame before",
    "same frame": "training words of the same frame",
}


def score_model(
    model: Model, guide: Guide, corpus: Corpus, *, seeds: int = 10, draws: int = 20, seed: int = 0
) -> dict[str, WordScore]:
    """How well a model predicts words, by the weights of its draws.

    The overlaps are the published ones, from one draw of the latents for each seed: z_t from the
    guide, which has seen the training tokens of the frame, and for the frame after the last from
    the model. The nats are those of a mixture over draws.

    Args:
        model: a sequence model of counts.
        guide: the guide q.
        corpus: the counts.
        seeds: single draws behind the overlaps.
        draws: paths in a mixture, K.
        seed: of the mixtures, and the first of the single draws.

    Returns:
        "guide", of equal weights, and "weighted", by those of a particle filter.
    """
    counts = torch.from_numpy(corpus.train)
    chances = partial(word_chances, model, guide, counts, conditions=corpus.conditions)
    single = np.stack([chances(seed=each) for each in range(seed, seed + seeds)])
    found = {}
    for name, weighted in (("guide", False), ("weighted", True)):
        *here, ahead = chances(draws=draws, weighted=weighted, seed=seed)
        prediction = Prediction(single[:, :-1], np.stack(here), single[:, -1], ahead)
        found[name] = WordScore.of(prediction, corpus)
    return found


def word_scores(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> dict[str, WordScore]:
    """How well held-out tokens are predicted: `score_model` and `trivial_scores` in one.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: a split; its first sequence is scored.
        seed: of the draws.

    Returns:
        By predictor; nothing where no tokens are held out, the words are fewer than the published
        overlap counts, or the model is no sequence model.
    """
    corpus = Corpus.of(sequences)
    if corpus is None or corpus.train.shape[-1] < TOP or not isinstance(model, StepModel):
        return {}
    return score_model(model, guide, corpus, seed=seed) | trivial_scores(corpus)


def trivial_scores(corpus: Corpus) -> dict[str, WordScore]:
    """How well trivial predictors do, which see the same training tokens.

    "unigram": the words of all frames. "previous frame": those of the frame before. "same frame":
    those of the frame itself, with nothing to say of the next. The last two rank by counts; their
    chances are mixed with the unigram ones, in a proportion fitted to the training tokens, each
    predicted from all others.

    Args:
        corpus: the counts.
    """
    train = corpus.train.astype(np.float64)
    total, tokens = train.sum(0), train.sum(-1, keepdims=True)
    unigram, rest = smoothed(total), smoothed(total, without=1)
    by_previous = mixing_share(_shares(train[:-1]), rest, train[1:])
    by_same = mixing_share((train - 1).clip(0) / (tokens - 1).clip(1), rest, train)
    previous = np.concatenate([total[None], train[:-1]])

    def mixed(counts: np.ndarray, share: float) -> np.ndarray:
        return share * _shares(counts) + (1 - share) * unigram

    everywhere = np.broadcast_to(total, train.shape)
    predictions = {
        "unigram": Prediction(everywhere[None], mixed(everywhere, 0), total[None], unigram),
        "previous frame": Prediction(
            previous[None], mixed(previous, by_previous), train[-1:], mixed(train[-1], by_previous)
        ),
        "same frame": Prediction(train[None], mixed(train, by_same)),
    }
    return {name: WordScore.of(found, corpus) for name, found in predictions.items()}


def mixing_share(own: np.ndarray, rest: np.ndarray, counts: np.ndarray) -> float:
    r"""The weight of one of two predictors in the mixture that gives tokens most likelihood.

    .. math:: \max_\lambda \sum_{t w} c_{tw} \log(\lambda a_{tw} + (1 - \lambda) b_w)

    Args:
        own: chances by the one, a, (T, D).
        rest: by the other, b, (D,).
        counts: tokens c that neither has seen, (T, D).

    Reference: expectation maximisation of Dempster, Laird and Rubin, 1977.
    """
    share = 0.5
    for _ in range(EM_STEPS):
        by_own = share * own
        share = float(
            (counts * by_own / (by_own + (1 - share) * rest)).sum() / counts.sum().clip(1)
        )
    return share


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(-1, keepdims=True).clip(1)
