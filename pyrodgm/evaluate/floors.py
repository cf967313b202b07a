"""What a trivial predictor reaches on the same data: no result is shown without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.evaluate.bounds import Bound
from pyrodgm.evaluate.count_predictors import count_predictors
from pyrodgm.evaluate.symbol_predictors import SymbolPredictor, log_scores, symbol_predictors
from pyrodgm.networks.emissions import LEAST_SCALE

PSEUDO_COUNT = 0.5  # of either outcome, or of any word: what training never shows may still happen
WEIGHTS = np.linspace(0, 0.95, 20)  # that the frame before may have
NUMBERS_AT_ONCE = 2**22  # bounds memory, not results
NAMES = {  # of the predictors, in a table
    "independent": "independent features",
    "markov": "Markov chain per feature",
    "previous frame": "mixture with the frame before",
    "entropy": "no prediction can exceed",
}

Score = Callable[[Sequences], np.ndarray]
Move = Callable[[np.ndarray], np.ndarray]


def floors(splits: Splits, split: str, *, totals: bool = False) -> dict[str, Bound]:
    """Exact log-likelihoods of trivial predictors fitted on the training sequences.

    Missing features are left out of the score, and the chains carry what they expect over a gap,
    as though it had been summed out. Held-out observations are neither fitted nor scored.

    Args:
        splits: the data; grey values score by cross-entropy, counts as tokens, without the
            multinomial coefficient.
        split: where they are scored, "train", "valid" or "test".
        totals: whether it is scored how many counts there are, see
            `pyrodgm.evaluate.count_predictors`, and not only of which kind.

    Returns:
        "independent": every feature has its training mean, of real numbers also its variance, in
        every frame; symbols and words have their training shares. "markov": every feature is a
        chain of its own, of as many states as it has values, or a normal autoregression of order
        one. "previous frame": the share of
        a word is a mixture of its share in the frame before and of that in training; its weight
        did best in training. "entropy": the cross-entropy that no prediction can undercut, for
        grey values only.
    """
    return scores(trivial_predictors(splits, totals=totals), splits[split])


def trivial_predictors(splits: Splits, *, totals: bool = False) -> dict[str, Score]:
    """The predictors of `floors`, fitted: each gives nats of every sequence, (N,)."""
    train, info = splits.train, splits.info
    if info.kind == "categorical":
        found = symbol_predictors(train, info)
        return {name: _symbol_score(predictor, info) for name, predictor in found.items()}
    if info.kind == "count":
        return count_predictors(train) if totals else _word_predictors(train, info)
    if info.kind == "real":
        return _normal_predictors(train, info)
    bits = _bit_predictors(train)
    return bits if info.kind == "binary" else bits | {"entropy": _entropy}


def scores(predictors: Mapping[str, Score], sequences: Sequences) -> dict[str, Bound]:
    """What fitted predictors come to on a split."""
    return {
        name: Bound.of(_over(sequences, score), sequences.lengths, "exact")
        for name, score in predictors.items()
    }


def _symbol_score(predictor: SymbolPredictor, info: DataInfo) -> Score:
    return lambda part: log_scores(predictor, part, info)


def _bit_predictors(train: Sequences) -> dict[str, Score]:
    """Smoothed shares of ones: of all frames, and of those after a one and after a zero.

    A grey predecessor counts as on with its value and as off with the rest.
    """
    ones, total = np.zeros((2, 3, train.x.shape[1]))
    for part in _parts(train):
        x, before = _values(part), _before(part)
        seen, told = ~np.isnan(x), ~np.isnan(before)
        x, before = np.where(seen, x, 0), np.where(told, before, 0)
        for row, weight in enumerate((np.ones_like(x), before, told - before)):
            ones[row] += np.einsum("nd,nd->d", weight, x)
            total[row] += np.einsum("nd,nd->d", weight, seen)
    chance, on, off = (ones + PSEUDO_COUNT) / (total + 2 * PSEUDO_COUNT)

    def markov(part: Sequences) -> np.ndarray:
        known = _values(part)[None]
        return _bernoulli(part, _carried(part, known, chance, lambda p: p * on + (1 - p) * off)[0])

    return {
        "independent": lambda part: _bernoulli(part, np.broadcast_to(chance, part.x.shape)),
        "markov": markov,
    }


def _entropy(part: Sequences) -> np.ndarray:
    """The score of a prediction that is the frame itself."""
    return _bernoulli(part, _values(part))


def _normal_predictors(train: Sequences, info: DataInfo) -> dict[str, Score]:
    r"""Normal numbers, and :math:`x_t = \mu + \phi (x_{t-1} - \mu) + \delta + \epsilon_t`."""
    mean, std = np.array(info.mean), np.array(info.std)
    varies = std > 0
    least = np.square(LEAST_SCALE * std)  # as sharp as an emission can be
    variance = np.where(varies, np.square(std), 1)  # of a constant feature one, as an emission has
    slope, offset, noise = _regression(train, mean)
    slope, offset = slope * varies, offset * varies
    noise = np.where(varies, np.maximum(noise, least), 1)

    def markov(part: Sequences) -> np.ndarray:
        centred = _values(part) - mean
        known = np.stack([centred, np.zeros_like(centred)])
        first = np.stack([np.zeros_like(mean), variance])
        expected = _carried(
            part,
            known,
            first,
            lambda state: np.stack([offset + slope * state[0], noise + slope**2 * state[1]]),
        )
        return _normal(part, centred - expected[0], expected[1])

    return {
        "independent": lambda part: _normal(part, _values(part) - mean, variance),
        "markov": markov,
    }


def _regression(train: Sequences, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, offset and residual variance of every centred feature on the frame before it, (D,)."""
    sums = np.zeros((6, len(mean)))
    for part in _parts(train):
        y, x = _values(part) - mean, _before(part) - mean
        both = ~np.isnan(x + y)
        x, y = np.where(both, x, 0), np.where(both, y, 0)
        sums += np.stack([s.sum(0) for s in (both.astype(float), x, y, x * x, x * y, y * y)])
    count = np.maximum(sums[0], 1)
    x, y, xx, xy, yy = sums[1:] / count
    spread = xx - x * x
    slope = np.divide(xy - x * y, spread, out=np.zeros_like(x), where=spread > 0)
    return slope, y - slope * x, yy - y * y - slope * (xy - x * y)


def _word_predictors(train: Sequences, info: DataInfo) -> dict[str, Score]:
    """Smoothed shares of words, alone and together with those of the frame before."""
    totals = np.array(info.mean) * train.num_frames + PSEUDO_COUNT
    shares = totals / totals.sum()

    def previous(part: Sequences, weight: float) -> np.ndarray:
        before = np.nan_to_num(_before(part))
        seen = ~np.isnan(_before(part))
        told = before.sum(1, keepdims=True)
        # What a frame says, it says of the words that were seen in it.
        rescaled = before * (seen * shares).sum(1, keepdims=True) / np.maximum(told, 1)
        return _tokens(part, shares + weight * np.where(seen & (told > 0), rescaled - shares, 0))

    best = max(WEIGHTS, key=lambda weight: _over(train, lambda part: previous(part, weight)).sum())
    return {
        "independent": lambda part: _tokens(part, np.broadcast_to(shares, part.x.shape)),
        "previous frame": lambda part: previous(part, best),
    }


def _carried(part: Sequences, known: np.ndarray, first: np.ndarray, move: Move) -> np.ndarray:
    """What a chain expects of every frame, (P, frames, D).

    Args:
        part: the sequences.
        known: what every frame says of itself, (P, frames, D), where it was observed.
        first: what is expected of a first frame, (P, D) or (D,).
        move: from what is known or expected of a frame to what is expected of the next.
    """
    seen = ~part.x.isnan().numpy()
    expected = np.empty_like(known)
    expected[:, part.starts] = np.atleast_2d(first)[:, None]
    for t in range(1, int(part.lengths.max())):
        now = part.starts[part.lengths > t] + t
        before = np.where(seen[now - 1], known[:, now - 1], expected[:, now - 1])
        expected[:, now] = move(before)
    return expected


def _bernoulli(part: Sequences, chance: np.ndarray) -> np.ndarray:
    """Log-likelihood of every sequence under independent bits, (N,), in nats."""
    x = _values(part)
    with np.errstate(divide="ignore"):
        on = np.where(x > 0, x * np.log(np.where(x > 0, chance, 1)), 0)
        off = np.where(x < 1, (1 - x) * np.log1p(-np.where(x < 1, chance, 0)), 0)
    return _by_sequence(part, on + off)


def _normal(part: Sequences, error: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log-density of every sequence by how far its numbers are from their means, (N,), in nats."""
    return _by_sequence(part, -0.5 * (np.square(error) / variance + np.log(2 * np.pi * variance)))


def _tokens(part: Sequences, shares: np.ndarray) -> np.ndarray:
    """Log-likelihood of every sequence of counts, given their totals, (N,), in nats."""
    seen = (shares * ~part.x.isnan().numpy()).sum(1, keepdims=True)
    return _by_sequence(part, _values(part) * np.log(shares / np.where(seen > 0, seen, 1)))


def _by_sequence(part: Sequences, nats: np.ndarray) -> np.ndarray:
    """Sums over what was observed of every sequence, (N,)."""
    return np.add.reduceat(np.nansum(nats, 1), part.starts)


def _values(part: Sequences) -> np.ndarray:
    return part.x.numpy().astype(np.float64)


def _before(part: Sequences) -> np.ndarray:
    """Every frame's predecessor, (frames, D); NaN where it has none."""
    before = np.roll(_values(part), 1, axis=0)
    before[part.starts] = np.nan
    return before


def _over(sequences: Sequences, score: Score) -> np.ndarray:
    """A score of every sequence, (N,)."""
    return np.concatenate([score(part) for part in _parts(sequences)])


def _parts(sequences: Sequences) -> Iterator[Sequences]:
    """The sequences in order, some at a time."""
    frames = max(1, NUMBERS_AT_ONCE // sequences.x.shape[1])
    turn = np.cumsum(sequences.lengths) // frames
    for rows in np.split(np.arange(len(sequences)), np.flatnonzero(np.diff(turn)) + 1):
        yield sequences.select(rows)
