"""Means over all sequences of what was computed for some of them, by regression."""

from __future__ import annotations

import math

import numpy as np

from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw, score
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides import Guide, ImplicitGuide, StepGuide
from pyrodgm.models import Model
from pyrodgm.tables import Measured

FEWEST = 10  # sequences of a regression
DRAWS = 4  # of the guide for every sequence, where it has no density


def by_regression(some: np.ndarray, cheap_of_some: np.ndarray, cheap: np.ndarray) -> Measured:
    r"""The mean of y over N sequences, of which n have y and all have a cheaper x.

    .. math::
        \bar y_n + \beta (\bar x_N - \bar x_n), \qquad
        \beta = \frac{\mathrm{cov}_n(x, y)}{\mathrm{var}_n(x)}

    Its squared standard error is the variance of the residuals over n - 2 and that of
    :math:`\beta x` over N. Without the regression it is the variance of y over n.

    Args:
        some: y, (n,), of at least three sequences.
        cheap_of_some: x of the same sequences, (n,).
        cheap: x of all sequences, (N,).

    Reference: Cochran, Sampling techniques, 1977, chapter 7.

    >>> x = np.arange(10.0)
    >>> round(by_regression(3 + 2 * x[:3], x[:3], x).value, 6)
    12.0
    """
    off = cheap_of_some - cheap_of_some.mean()
    squares = float(off @ off)
    slope = float(off @ some) / squares if squares > 0 else 0.0
    residuals = some - some.mean() - slope * off
    value = some.mean() + slope * (cheap.mean() - cheap_of_some.mean())
    count = len(some)
    variance = float(residuals @ residuals) / (count - 2) / count
    return Measured(float(value), math.sqrt(variance + slope**2 * float(cheap.var()) / len(cheap)))


def guide_scores(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> np.ndarray | None:
    """A cheap relative of the log-likelihood of every sequence, in nats, (N,).

    It is the lower bound by one draw of the guide, or, where the guide has no density, the mean of
    log p(x, z) over some draws; None if the guide draws nothing.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: N of them.
        seed: of the draws; the global generator is left alone.
    """
    if not model.latents.keys() <= guide.latents.keys():
        return None
    if isinstance(guide, StepGuide) and guide.traits.has_density:
        return sequence_bounds(model, guide, sequences, estimator="elbo", seed=seed)[0]
    if not isinstance(guide, ImplicitGuide):
        return None
    nats = np.zeros(len(sequences))
    with drawing(model, seed, "scores of the guide") as device:
        for rows, part in chunks(sequences.lengths, DRAWS, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            values = draw(guide, batch, part.stop - part.start, pathwise=False).values
            for log_p in score(model, batch, values).values():
                nats[rows] += log_p.double().sum((0, 2)).cpu().numpy() / DRAWS
    return nats
