"""The four points of adversarial variational Bayes: one-hot rows, all equally frequent."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError

POINTS = 4


def load_avb(*, copies: int = 128) -> Splits:
    r"""The four one-hot rows of length 4, as pictures of 2 x 2 pixels.

    .. math:: x \sim \tfrac14 \sum_i \delta_{e_i}

    All three splits hold every row `copies` times, so that a batch has many of each. No
    log-likelihood exceeds :math:`-\log 4` nats per row.

    Args:
        copies: of every row, in each split.

    Raises:
        UsageError: no copies.

    Reference: Mescheder, Nowozin and Geiger, Adversarial variational Bayes, 2017, figure 2.

    >>> load_avb(copies=2).train.batch([0, 1, 2]).x[:, 0]
    tensor([[1., 0., 0., 0.],
            [0., 1., 0., 0.],
            [0., 0., 1., 0.]])
    """
    if copies < 1:
        raise UsageError(f"avb-points: {copies} copies of every row; give at least 1")
    rows = np.tile(np.eye(POINTS, dtype=np.uint8), (copies, 1))
    part = Sequences(rows, np.ones(len(rows), int))
    parts = {"train": part, "valid": part, "test": part}
    return Splits.of("avb-points", "binary", parts, image_shape=(2, 2))
