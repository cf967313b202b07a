"""Mixtures of normal distributions in the plane: rows of two numbers with known modes."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator

FIVE = ((0.0, 0.0), (2.0, 2.0), (-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0))
DEVIATION = 0.2


def load_gmm5(
    *, num_train: int = 2048, num_valid: int = 1024, num_test: int = 1024, seed: int = 0
) -> Splits:
    r"""Rows from five normal distributions of equal weight.

    .. math:: x \sim \tfrac15 \sum_i \mathcal N(c_i, 0.2^2 I), \qquad
        c_i \in \{(0, 0), (\pm 2, \pm 2)\}

    Args:
        num_train: training rows. Each split has a random stream of its own, so the size of one does
            not change another.
        num_valid: validation rows.
        num_test: test rows.
        seed: of all three streams.

    Raises:
        UsageError: a split without rows, or the seed is negative.

    Reference: the mixture of Li et al., ALICE: towards understanding adversarial learning for joint
    distribution matching, 2017, with 2048 rows for training and 1024 for test.

    >>> load_gmm5(num_train=3).train.batch([0, 1]).x.shape
    torch.Size([2, 1, 2])
    """
    sizes = {"train": num_train, "valid": num_valid, "test": num_test}
    if min(sizes.values()) < 1:
        raise UsageError(f"gmm5: every split needs at least one row, got {sizes}")
    parts = {
        split: Sequences(draw(size, numpy_generator(seed, "gmm5", split)), np.ones(size, int))
        for split, size in sizes.items()
    }
    return Splits.of("gmm5", "real", parts)


def draw(num: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the mixture, (num, 2) float32."""
    centres = np.array(FIVE)[rng.integers(len(FIVE), size=num)]
    return (centres + DEVIATION * rng.standard_normal((num, 2))).astype(np.float32)


def shares(x: np.ndarray, within: float = 3.0) -> np.ndarray:
    """The share of points near each of the five modes, (5,); 0.198 each for exact draws.

    Args:
        x: points, (N, 2).
        within: largest distance from a mode, in standard deviations of a component.

    >>> shares(np.array([[2.0, 2.1], [0.0, 0.0], [1.0, 1.0]])).round(2).tolist()
    [0.33, 0.33, 0.0, 0.0, 0.0]
    """
    distance = np.linalg.norm(x[:, None] - np.array(FIVE), axis=-1)
    return (distance < within * DEVIATION).mean(0)
