"""How well are words predicted? Overlap of the most frequent ones, and nats per held-out token."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.topics import top, word_chances
from pyrodgm.guides import Guide
from pyrodgm.models import Model, SequenceModel

TOP = 50  # words of the published overlap
PSEUDO_COUNT = 0.5  # of every word: one that is never read may still be
EM_STEPS = 100

NAMES = {
    "guide": "this model, mean over draws of the guide",
    "weighted": "this model, particle filter",
    "unigram": "words of all frames",
    "previous frame": "words of the frame before",
    "same frame": "training words of the same frame",
}


def overlap(chances: np.ndarray, counts: np.ndarray, num: int = TOP) -> np.ndarray:
    r"""Share of the most frequent words that were predicted, for every frame, (T,).

    .. math:: \frac1M \left| \mathrm{top}_M(p_t) \cap \mathrm{top}_M(c_t) \right|

    Args:
        chances: p, or any score that ranks the words, (T, D).
        counts: what was read, c, (T, D).
        num: M; ties are broken by place in the vocabulary.

    Raises:
        UsageError: there are fewer words than that.

    Reference: the published code of Gan et al., Deep temporal sigmoid belief networks, 2015.

    >>> overlap(np.array([[3, 2, 1, 0]]), np.array([[5, 0, 5, 0]]), 2)
    array([0.5])
    """
    if counts.shape[-1] < num:
        raise UsageError(f"there are {counts.shape[-1]} words, too few for a top {num}")
    pairs = zip(top(chances, num), top(counts, num), strict=True)
    return np.array([len(np.intersect1d(one, other)) / num for one, other in pairs])


def nats_per_token(chances: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    r"""Mean log-probability of a token, and its standard error over frames.

    .. math:: \sum_{t w} c_{tw} \log p_{tw} \Big/ \sum_{t w} c_{tw}

    Args:
        chances: p, (T, D).
        counts: tokens that were not seen, c, (T, D).
    """
    tokens = counts.sum(-1)
    nats = (counts * np.log(np.where(counts > 0, chances, 1))).sum(-1)
    mean = nats.sum() / tokens.sum()
    frames = len(tokens)
    squares = ((nats - mean * tokens) ** 2).sum() * frames / max(frames - 1, 1)
    error = np.sqrt(squares) / tokens.sum() if frames > 1 else np.nan
    return float(mean), float(error)


@dataclass(frozen=True)
class Corpus:
    """Counts of words over time.

    Args:
        train: tokens that a predictor sees, (T, D).
        held_out: other tokens of the same frames, (T, D).
        final: all tokens of the frame that follows, (D,); None where there is none.
    """

    train: np.ndarray
    held_out: np.ndarray
    final: np.ndarray | None

    @classmethod
    def of(cls, sequences: Sequences) -> Corpus | None:
        """The first of some sequences with what is held out of it; None if nothing is.

        A last frame of which nothing was seen is the one that follows.
        """
        if sequences.held_out is None:
            return None
        batch, held_out = sequences.batch([0]), sequences.held_out_batch([0])[0].numpy()
        train = batch.x[0].numpy()
        if batch.seen is None or bool(batch.seen[0, -1].any()):
            return cls(train, held_out, None)
        return cls(train[:-1], held_out[:-1], held_out[-1])


@dataclass(frozen=True)
class Prediction:
    """What is expected of words that were not seen.

    Args:
        ranking: scores that rank the words of every frame, by seed, (S, T, D).
        chances: of the words of every frame, (T, D).
        next_ranking: scores for the frame after the last, by seed, (S, D); None for what cannot
            look ahead.
        next_chances: of its words, (D,).
    """

    ranking: np.ndarray
    chances: np.ndarray
    next_ranking: np.ndarray | None = None
    next_chances: np.ndarray | None = None


@dataclass(frozen=True)
class WordScore:
    """How well words were predicted.

    Args:
        overlap: share of the 50 most frequent words of the held-out tokens that were predicted, on
            average over frames, published as MP.
        overlap_sd: standard deviation of that over seeds; NaN for a single one.
        nats: per held-out token.
        nats_error: standard error of that over frames.
        next_overlap: the overlap for the frame after the last, published as PP; NaN where there is
            no prediction.
        next_overlap_sd: its standard deviation over seeds.
        next_nats: per token of the frame after the last.
        mixture_overlap: the overlap where words are ranked by their chances, which for a model are
            those of a mixture over draws, and not by one draw.
        mixture_next_overlap: the same for the frame after the last.
    """

    overlap: float
    overlap_sd: float
    nats: float
    nats_error: float
    next_overlap: float = math.nan
    next_overlap_sd: float = math.nan
    next_nats: float = math.nan
    mixture_overlap: float = math.nan
    mixture_next_overlap: float = math.nan

    @classmethod
    def of(cls, prediction: Prediction, corpus: Corpus) -> WordScore:
        """The scores of a prediction on the tokens that it has not seen."""
        here = np.array([overlap(seed, corpus.held_out, TOP).mean() for seed in prediction.ranking])
        found = cls(
            *_mean_and_sd(here),
            *nats_per_token(prediction.chances, corpus.held_out),
            mixture_overlap=float(overlap(prediction.chances, corpus.held_out, TOP).mean()),
        )
        ranking, chances = prediction.next_ranking, prediction.next_chances
        if corpus.final is None or ranking is None or chances is None:
            return found
        final = np.broadcast_to(corpus.final, ranking.shape)
        mean, sd = _mean_and_sd(overlap(ranking, final, TOP))
        nats, _ = nats_per_token(chances[None], corpus.final[None])
        (mixture,) = overlap(chances[None], corpus.final[None], TOP)
        return replace(
            found,
            next_overlap=mean,
            next_overlap_sd=sd,
            next_nats=nats,
            mixture_next_overlap=float(mixture),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Plain values, for JSON; what is not defined is null."""
        return {name: None if math.isnan(x) else x for name, x in asdict(self).items()}


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
    several = range(seed, seed + seeds)
    single = np.stack([word_chances(model, guide, counts, seed=each) for each in several])
    found = {}
    for name, weighted in (("guide", False), ("weighted", True)):
        *here, ahead = word_chances(model, guide, counts, draws=draws, weighted=weighted, seed=seed)
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
    if corpus is None or corpus.train.shape[-1] < TOP or not isinstance(model, SequenceModel):
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
    by_same = mixing_share((train - 1).clip(0) / (tokens - 1), rest, train)
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


def smoothed(counts: np.ndarray, *, without: float = 0) -> np.ndarray:
    """Shares of words, each a pseudo-count up so that none is impossible, (D,).

    Args:
        counts: tokens of each word, (D,).
        without: tokens to leave out of each word's own share.
    """
    total = counts.sum() - without + PSEUDO_COUNT * len(counts)
    return ((counts - without).clip(0) + PSEUDO_COUNT) / total


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
        share = float((counts * by_own / (by_own + (1 - share) * rest)).sum() / counts.sum())
    return share


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(-1, keepdims=True).clip(1)


def _mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
