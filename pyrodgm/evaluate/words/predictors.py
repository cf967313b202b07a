"""Predictions of words by a model and its guide, and by trivial predictors."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.words.probabilities import smoothed, word_probabilities
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
    """Scores of a model's predictions of words, with two choices of weights of its draws.

    The overlaps follow the published definition, with one draw of the latents per seed: z_t is from
    the guide given the training tokens, and for the frame after the last from the model. The nats
    are those of a mixture over draws.

    Args:
        model: a sequence model of counts.
        guide: the guide q.
        corpus: the counts.
        seeds: number of single draws for the overlaps.
        draws: paths in a mixture, K.
        seed: of the mixtures, and the first of the single draws.

    Returns:
        "guide", with equal weights, and "weighted", with those of a particle filter.
    """
    counts = torch.from_numpy(corpus.train)
    probabilities = partial(word_probabilities, model, guide, counts, conditions=corpus.conditions)
    single = np.stack([probabilities(seed=each) for each in range(seed, seed + seeds)])
    found = {}
    for name, weighted in (("guide", False), ("weighted", True)):
        *here, ahead = probabilities(draws=draws, weighted=weighted, seed=seed)
        prediction = Prediction(single[:, :-1], np.stack(here), single[:, -1], ahead)
        found[name] = WordScore.of(prediction, corpus)
    return found


def word_scores(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> dict[str, WordScore]:
    """Scores of predictions of held-out tokens: `score_model` and `trivial_scores` together.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: a split; its first sequence is scored.
        seed: of the draws.

    Returns:
        Scores by predictor; empty if no tokens are held out, if there are fewer words than the
        published overlap needs, or if the model is not a sequence model.
    """
    corpus = Corpus.of(sequences)
    if corpus is None or corpus.train.shape[-1] < TOP or not isinstance(model, StepModel):
        return {}
    return score_model(model, guide, corpus, seed=seed) | trivial_scores(corpus)


def trivial_scores(corpus: Corpus) -> dict[str, WordScore]:
    """Scores of trivial predictors given the same training tokens.

    "unigram": the words of all frames. "previous frame": those of the frame before. "same frame":
    those of the frame itself, without a prediction of the next. The last two rank by counts; their
    probabilities are mixtures with the unigram ones, with a weight fitted to the training tokens,
    each predicted from all others.

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
    r"""The weight of one of two predictors in the mixture with the highest likelihood.

    .. math:: \max_\lambda \sum_{t w} c_{tw} \log(\lambda a_{tw} + (1 - \lambda) b_w)

    Args:
        own: probabilities of the one, a, (T, D).
        rest: probabilities of the other, b, (D,).
        counts: tokens c that neither was fitted on, (T, D).

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
