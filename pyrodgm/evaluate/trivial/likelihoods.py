"""Log-likelihoods of trivial predictors, shown beside every result on the same data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.frame_scores import (
    Score,
    bernoulli,
    carried,
    frame_before,
    normal,
    over,
    portions,
    tokens,
    values,
)
from pyrodgm.evaluate.trivial.counts import count_moments, count_predictors
from pyrodgm.evaluate.trivial.symbols import (
    SymbolPredictor,
    log_scores,
    symbol_counts,
    symbol_predictors,
)
from pyrodgm.networks.conditional import LEAST_SCALE

PSEUDO_COUNT = 0.5  # added to every outcome or word, so that unseen ones have positive probability
WEIGHTS = np.linspace(0, 0.95, 20)  # grid of weights of the frame before
NAMES = {  # names of the predictors in tables
    "independent": "independent features",
    "markov": "Markov chain per feature",
    "previous frame": "mixture with the frame before",
    "entropy": "upper limit of any prediction",
}
OF_THE_PAST = ("markov", "previous frame")  # the same as "independent" for rows without time


def trivial_bounds(splits: Splits, split: str, *, totals: bool = False) -> dict[str, Bound]:
    """Exact log-likelihoods of trivial predictors fitted on the training sequences.

    Missing features are not scored; the Markov chains sum them out. Held-out observations are
    neither fitted nor scored.

    Args:
        splits: the data; grey values are scored by cross-entropy, counts as tokens, without the
            multinomial coefficient.
        split: "train", "valid" or "test".
        totals: whether the total of counts per frame is scored too; see
            `pyrodgm.evaluate.trivial.counts`.

    Returns:
        "independent": every feature has its training mean, real numbers also their variance, in
        every frame; symbols and words have their training shares. "markov": every feature is a
        separate Markov chain over its values, or for real numbers a normal autoregression of order
        one. "previous frame": the share of a word is a mixture of its share in the frame before and
        its training share, with the best weight in training. "entropy": minus the entropy of grey
        values, the upper limit of any prediction.
    """
    return scores(trivial_predictors(splits, totals=totals), splits[split])


def trivial_predictors(splits: Splits, *, totals: bool = False) -> dict[str, Score]:
    """The fitted predictors of `trivial_bounds`: each gives nats of every sequence, (N,)."""
    return predictors(learned(splits.train, splits.info, totals=totals), splits.info)


def learned(train: Sequences, info: DataInfo, *, totals: bool = False) -> dict[str, np.ndarray]:
    """Statistics of the training sequences used by the predictors of `trivial_bounds`, by name."""
    if info.kind == "categorical":
        return symbol_counts(train, info)
    if info.kind == "count":
        return count_moments(train) if totals else _word_shares(train, info)
    if info.kind == "real":
        return _normal_regression(train, info)
    return _bit_shares(train)


def predictors(known: Mapping[str, np.ndarray], info: DataInfo) -> dict[str, Score]:
    """The predictors of `trivial_bounds` from the statistics of `learned`.

    Args:
        known: statistics of training sequences.
        info: facts of the data to be scored, with its kind.
    """
    if info.kind == "categorical":
        found = symbol_predictors(known, info)
        return {name: _symbol_score(predictor, info) for name, predictor in found.items()}
    if info.kind == "count":
        return count_predictors(known) if "shapes" in known else _word_predictors(known)
    if info.kind == "real":
        return _normal_predictors(known)
    bits = _bit_predictors(known)
    return bits if info.kind == "binary" else bits | {"entropy": _entropy}


def scores(predictors: Mapping[str, Score], sequences: Sequences) -> dict[str, Bound]:
    """Bounds of fitted predictors on a split."""
    return {
        name: Bound.of(over(sequences, score), sequences.lengths, "exact")
        for name, score in predictors.items()
    }


def _symbol_score(predictor: SymbolPredictor, info: DataInfo) -> Score:
    return lambda part: log_scores(predictor, part, info)


def _bit_shares(train: Sequences) -> dict[str, np.ndarray]:
    """Smoothed shares of ones: of all frames, and of those after a one and after a zero.

    A grey predecessor x counts as one with weight x and as zero with weight 1 - x.
    """
    ones, total = np.zeros((2, 3, train.x.shape[1]))
    for part in portions(train):
        x, before = values(part), frame_before(part)
        seen, known = ~np.isnan(x), ~np.isnan(before)
        x, before = np.where(seen, x, 0), np.where(known, before, 0)
        for row, weight in enumerate((np.ones_like(x), before, known - before)):
            ones[row] += np.einsum("nd,nd->d", weight, x)
            total[row] += np.einsum("nd,nd->d", weight, seen)
    return dict(
        zip(("share", "on", "off"), (ones + PSEUDO_COUNT) / (total + 2 * PSEUDO_COUNT), strict=True)
    )


def _bit_predictors(known: Mapping[str, np.ndarray]) -> dict[str, Score]:
    share, on, off = (known[name] for name in ("share", "on", "off"))

    def markov(part: Sequences) -> np.ndarray:
        known = values(part)[None]
        return bernoulli(part, carried(part, known, share, lambda p: p * on + (1 - p) * off)[0])

    return {
        "independent": lambda part: bernoulli(part, np.broadcast_to(share, part.x.shape)),
        "markov": markov,
    }


def _entropy(part: Sequences) -> np.ndarray:
    """The score of predicting the frame itself."""
    return bernoulli(part, values(part))


def _normal_regression(train: Sequences, info: DataInfo) -> dict[str, np.ndarray]:
    """Mean and variance of every feature, and its regression on the frame before, each (D,)."""
    mean, std = np.array(info.mean), np.array(info.std)
    varies = std > 0
    least = np.square(LEAST_SCALE * std)  # the smallest variance of an emission
    variance = np.where(varies, np.square(std), 1)  # constant features have one, as in an emission
    slope, offset, noise = _regression(train, mean)
    slope, offset = slope * varies, offset * varies
    noise = np.where(varies, np.maximum(noise, least), 1)
    return {
        "mean": mean,
        "variance": variance,
        "slope": slope,
        "offset": offset,
        "noise": noise,
    }


def _normal_predictors(known: Mapping[str, np.ndarray]) -> dict[str, Score]:
    r"""Normal numbers, and :math:`x_t = \mu + \phi (x_{t-1} - \mu) + \delta + \epsilon_t`."""
    mean, variance = known["mean"], known["variance"]
    slope, offset, noise = (known[name] for name in ("slope", "offset", "noise"))

    def markov(part: Sequences) -> np.ndarray:
        centred = values(part) - mean
        known = np.stack([centred, np.zeros_like(centred)])
        first = np.stack([np.zeros_like(mean), variance])
        expected = carried(
            part,
            known,
            first,
            lambda state: np.stack([offset + slope * state[0], noise + slope**2 * state[1]]),
        )
        return normal(part, centred - expected[0], expected[1])

    return {
        "independent": lambda part: normal(part, values(part) - mean, variance),
        "markov": markov,
    }


def _regression(train: Sequences, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, offset and residual variance of every centred feature on the frame before it, (D,)."""
    sums = np.zeros((6, len(mean)))
    for part in portions(train):
        y, x = values(part) - mean, frame_before(part) - mean
        both = ~np.isnan(x + y)
        x, y = np.where(both, x, 0), np.where(both, y, 0)
        sums += np.stack([s.sum(0) for s in (both.astype(float), x, y, x * x, x * y, y * y)])
    count = np.maximum(sums[0], 1)
    x, y, xx, xy, yy = sums[1:] / count
    spread = xx - x * x
    slope = np.divide(xy - x * y, spread, out=np.zeros_like(x), where=spread > 0)
    return slope, y - slope * x, yy - y * y - slope * (xy - x * y)


def _word_shares(train: Sequences, info: DataInfo) -> dict[str, np.ndarray]:
    """Smoothed shares of words, (D,), and the weight of the frame before."""
    totals = np.array(info.mean) * train.num_frames + PSEUDO_COUNT
    shares = totals / totals.sum()

    def gain(weight: float) -> float:
        return over(train, lambda part: _previous(part, shares, weight)).sum()

    return {"shares": shares, "weight": np.array([max(WEIGHTS, key=gain)])}


def _word_predictors(known: Mapping[str, np.ndarray]) -> dict[str, Score]:
    """Predictors of words: training shares, alone and mixed with shares of the frame before."""
    shares, weight = known["shares"], float(known["weight"][0])
    return {
        "independent": lambda part: tokens(part, np.broadcast_to(shares, part.x.shape)),
        "previous frame": lambda part: _previous(part, shares, weight),
    }


def _previous(part: Sequences, shares: np.ndarray, weight: float) -> np.ndarray:
    """The score of a mixture of the words of the frame before with those of all frames, (N,)."""
    before = np.nan_to_num(frame_before(part))
    seen = ~np.isnan(frame_before(part))
    total = before.sum(1, keepdims=True)
    # The shares of a frame are relative to the words that were observed in it.
    rescaled = before * (seen * shares).sum(1, keepdims=True) / np.maximum(total, 1)
    return tokens(part, shares + weight * np.where(seen & (total > 0), rescaled - shares, 0))
