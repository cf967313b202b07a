"""Trivial predictors of counts and their totals: negative binomial, fitted by moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.distributions import NegativeBinomialVector
from pyrodgm.models import Model

PSEUDO_COUNT = 0.5  # added to every feature, so that unseen counts have positive probability
LARGEST_SHAPE = 1e6  # a negative binomial with this shape is practically Poisson
WEIGHTS = np.linspace(0, 0.95, 20)  # grid of weights of the frame before

Score = Callable[[Sequences], np.ndarray]


def scores_totals(model: Model) -> bool:
    """Whether a model of counts scores the total per frame, and not only the shares."""
    return bool(getattr(getattr(model, "emission", None), "scores_totals", False))


def count_moments(train: Sequences) -> dict[str, np.ndarray]:
    """Statistics of the training sequences used by `count_predictors`.

    Returns:
        "mean" of every feature, (D,); the best "weight" w, (1,); and the "shapes" r without and
        with this weight, (2, D).
    """
    x = train.x.numpy().astype(np.float64)
    mean = (np.nansum(x, 0) + PSEUDO_COUNT) / ((~np.isnan(x)).sum(0) + 1)

    def gain(weight: float) -> float:
        expected = _expected(train, mean, weight)
        return _nats(train, expected, _shape(train, expected)).sum()

    best = max(WEIGHTS, key=gain)
    shapes = [_shape(train, _expected(train, mean, weight)) for weight in (0.0, best)]
    return {"mean": mean, "weight": np.array([best]), "shapes": np.stack(shapes)}


def count_predictors(known: Mapping[str, np.ndarray]) -> dict[str, Score]:
    r"""Log-likelihoods of sequences, (N,), in nats, from statistics of training.

    .. math:: x_{td} \sim \mathrm{NB}(\mu_{td}, r_d), \qquad
        \mu_{td} = (1 - w) m_d + w x_{t-1,d}, \qquad
        r_d = \frac{\sum_t \mu_{td}^2}{\sum_t (x_{td} - \mu_{td})^2 - \mu_{td}}

    Args:
        known: from `count_moments`.

    Returns:
        "independent": w is zero. "previous frame": w is the best value in training; it is zero for
        frames without an observed predecessor.
    """
    mean, weight, shapes = known["mean"], float(known["weight"][0]), known["shapes"]
    return {
        "independent": lambda part: _nats(part, _expected(part, mean, 0.0), shapes[0]),
        "previous frame": lambda part: _nats(part, _expected(part, mean, weight), shapes[1]),
    }


def _expected(part: Sequences, mean: np.ndarray, weight: float) -> np.ndarray:
    """The mean of every frame, (frames, D)."""
    before = np.roll(part.x.numpy().astype(np.float64), 1, axis=0)
    before[part.starts] = np.nan
    return mean + weight * np.nan_to_num(before - mean)


def _shape(part: Sequences, expected: np.ndarray) -> np.ndarray:
    """The shapes r that match the observed variances, (D,)."""
    x = part.x.numpy().astype(np.float64)
    more = np.nansum(np.square(x - expected) - expected, 0)
    squares = (np.square(expected) * ~np.isnan(x)).sum(0)
    shape = np.divide(squares, more, out=np.full_like(more, LARGEST_SHAPE), where=more > 0)
    return np.minimum(shape, LARGEST_SHAPE)


def _nats(part: Sequences, expected: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Log-likelihoods of the observed values of every sequence, (N,)."""
    x = part.x.double()
    distribution = NegativeBinomialVector(
        torch.from_numpy(expected).log(), torch.from_numpy(shape).log().expand(expected.shape)
    )
    each = distribution.log_prob_seen(x, ~x.isnan()).numpy()
    return np.add.reduceat(each, part.starts)
