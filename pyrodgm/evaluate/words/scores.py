"""Scores of predicted words: overlap of the most frequent ones, and nats per held-out token."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np

from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.words.topics import top

TOP = 50  # words of the published overlap


def overlap(probabilities: np.ndarray, counts: np.ndarray, num: int = TOP) -> np.ndarray:
    r"""Share of the most frequent words that were predicted, for every frame, (T,).

    .. math:: \frac1M \left| \mathrm{top}_M(p_t) \cap \mathrm{top}_M(c_t) \right|

    Args:
        probabilities: p, or any score that ranks the words, (T, D).
        counts: observed counts, c, (T, D).
        num: M; ties are broken by index in the vocabulary.

    Raises:
        UsageError: there are fewer words than M.

    Reference: the published code of Gan et al., Deep temporal sigmoid belief networks, 2015.

    >>> overlap(np.array([[3, 2, 1, 0]]), np.array([[5, 0, 5, 0]]), 2)
    array([0.5])
    """
    if counts.shape[-1] < num:
        raise UsageError(f"there are {counts.shape[-1]} words, too few for a top {num}")
    pairs = zip(top(probabilities, num), top(counts, num), strict=True)
    return np.array([len(np.intersect1d(one, other)) / num for one, other in pairs])


def nats_per_token(probabilities: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    r"""Mean log-probability of a token, and its standard error over frames.

    .. math:: \sum_{t w} c_{tw} \log p_{tw} \Big/ \sum_{t w} c_{tw}

    Args:
        probabilities: p, (T, D).
        counts: held-out tokens, c, (T, D).
    """
    tokens = counts.sum(-1)
    nats = (counts * np.log(np.where(counts > 0, probabilities, 1))).sum(-1)
    mean = nats.sum() / tokens.sum()
    frames = len(tokens)
    squares = ((nats - mean * tokens) ** 2).sum() * frames / max(frames - 1, 1)
    error = np.sqrt(squares) / tokens.sum() if frames > 1 else np.nan
    return float(mean), float(error)


@dataclass(frozen=True)
class Corpus:
    """Counts of words over time.

    Args:
        train: tokens given to predictors, (T, D).
        held_out: other tokens of the same frames, (T, D).
        final: all tokens of the next frame, (D,), or None.
        conditions: of all these frames, (T, U), or (T + 1, U), or None.
    """

    train: np.ndarray
    held_out: np.ndarray
    final: np.ndarray | None
    conditions: np.ndarray | None = None

    @classmethod
    def of(cls, sequences: Sequences) -> Corpus | None:
        """The first sequence with its held-out tokens; None if there are none.

        If the last frame was not observed, it is the next frame, `final`.
        """
        if sequences.held_out is None:
            return None
        batch, held_out = sequences.batch([0]), sequences.held_out_batch([0])[0].numpy()
        train = batch.x[0].numpy()
        given = None if batch.conditions is None else batch.conditions[0].numpy()
        if batch.seen is None or bool(batch.seen[0, -1].any()):
            return cls(train, held_out, None, given)
        return cls(train[:-1], held_out[:-1], held_out[-1], given)


@dataclass(frozen=True)
class Prediction:
    """Predictions of held-out words.

    Args:
        ranking: scores that rank the words of every frame, by seed, (S, T, D).
        probabilities: of the words of every frame, (T, D).
        next_ranking: scores for the frame after the last, by seed, (S, D); None if not predicted.
        next_probabilities: of its words, (D,).
    """

    ranking: np.ndarray
    probabilities: np.ndarray
    next_ranking: np.ndarray | None = None
    next_probabilities: np.ndarray | None = None


@dataclass(frozen=True)
class WordScore:
    """Scores of a prediction of words.

    Args:
        overlap: share of the 50 most frequent words of the held-out tokens that were predicted, on
            average over frames, published as MP.
        overlap_sd: standard deviation of that over seeds; NaN for a single seed.
        nats: per held-out token.
        nats_error: standard error of that over frames.
        next_overlap: the overlap for the frame after the last, published as PP; NaN without a
            prediction.
        next_overlap_sd: its standard deviation over seeds.
        next_nats: per token of the frame after the last.
        mixture_overlap: the overlap with words ranked by their probabilities, which for a model are
            those of a mixture over draws, and not by a single draw.
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
        """The scores of a prediction on held-out tokens."""
        here = np.array([overlap(seed, corpus.held_out, TOP).mean() for seed in prediction.ranking])
        found = cls(
            *_mean_and_sd(here),
            *nats_per_token(prediction.probabilities, corpus.held_out),
            mixture_overlap=float(overlap(prediction.probabilities, corpus.held_out, TOP).mean()),
        )
        ranking, probabilities = prediction.next_ranking, prediction.next_probabilities
        if corpus.final is None or ranking is None or probabilities is None:
            return found
        final = np.broadcast_to(corpus.final, ranking.shape)
        mean, sd = _mean_and_sd(overlap(ranking, final, TOP))
        nats, _ = nats_per_token(probabilities[None], corpus.final[None])
        (mixture,) = overlap(probabilities[None], corpus.final[None], TOP)
        return replace(
            found,
            next_overlap=mean,
            next_overlap_sd=sd,
            next_nats=nats,
            mixture_next_overlap=float(mixture),
        )

    def to_dict(self) -> dict[str, float | None]:
        """Plain values, for JSON; undefined values are null."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def _mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
