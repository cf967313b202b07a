"""The inception-style score: how sure and how diverse a classifier finds a set of rows."""

from __future__ import annotations

import math

import numpy as np

from pyrodgm.tables import Measured


def inception_score(probabilities: np.ndarray) -> Measured:
    r"""The score of a set of rows, from 1 to the number of classes.

    .. math:: \exp \frac1N \sum_i \mathrm{KL}\big(p(y \mid x_i) \,\|\, \bar p\big), \qquad
        \bar p = \frac1N \sum_i p(y \mid x_i)

    Rows are all in one set; published scores are means over ten. Since the mean is over the same
    rows, the score is too low, by a share of at most about (C - 1) / 2N: where the classifier is
    sure, and less where it is not. The standard error is that of the mean divergence, times the
    score.

    Args:
        probabilities: of the classes of every row, (N, C).

    Reference: Salimans et al., Improved techniques for training GANs, 2016.

    >>> [round(inception_score(p).value, 6) for p in (np.eye(4), np.full((9, 4), 0.25))]
    [4.0, 1.0]
    """
    p = np.maximum(probabilities, np.finfo(np.float64).tiny)
    each = (p * (np.log(p) - np.log(p.mean(0)))).sum(1)
    score = math.exp(each.mean())
    error = each.std(ddof=1) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return Measured(score, score * error)
