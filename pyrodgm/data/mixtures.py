"""Mixtures of normal distributions in the plane: rows of two numbers with known modes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator


@dataclass(frozen=True)
class Mixture:
    r"""Normal distributions of equal weight and size.

    .. math:: x \sim \frac1M \sum_i \mathcal N(c_i, \sigma^2 I)

    Args:
        name: of the dataset.
        centres: the modes c, M points in the plane.
        deviation: the standard deviation of a component in each direction.
    """

    name: str
    centres: tuple[tuple[float, float], ...]
    deviation: float

    def draw(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Rows of the mixture, (num, 2) float32."""
        chosen = np.array(self.centres)[rng.integers(len(self.centres), size=num)]
        return (chosen + self.deviation * rng.standard_normal((num, 2))).astype(np.float32)

    def splits(self, *, num_train: int, num_valid: int, num_test: int, seed: int) -> Splits:
        """Rows of three splits, each with a random stream of its own."""
        sizes = {"train": num_train, "valid": num_valid, "test": num_test}
        if min(sizes.values()) < 1:
            raise UsageError(f"{self.name}: every split needs at least one row, got {sizes}")
        parts = {
            split: Sequences(
                self.draw(size, numpy_generator(seed, self.name, split)), np.ones(size, int)
            )
            for split, size in sizes.items()
        }
        known = {"modes": self.centres, "mode_std": self.deviation}
        return Splits.of(self.name, "real", parts, **known)


def ring(radius: float, num: int) -> tuple[tuple[float, float], ...]:
    """Points at equal distances on a circle around the origin, the first on the axis.

    >>> [(round(x), round(y)) for x, y in ring(2.0, 4)]
    [(2, 0), (0, 2), (-2, 0), (0, -2)]
    """
    angles = (2 * math.pi * k / num for k in range(num))
    return tuple((radius * math.cos(angle), radius * math.sin(angle)) for angle in angles)


GMM5 = Mixture("gmm5", ((0.0, 0.0), (2.0, 2.0), (-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0)), 0.2)
GMM32 = Mixture("gmm32", sum((ring(radius, 8) for radius in (2.0, 3.0, 4.0, 5.0)), ()), 0.1)


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
    sizes = {"num_train": num_train, "num_valid": num_valid, "num_test": num_test}
    return GMM5.splits(**sizes, seed=seed)


def load_gmm32(
    *, num_train: int = 1600, num_valid: int = 1600, num_test: int = 1600, seed: int = 0
) -> Splits:
    r"""Rows from 32 normal distributions of equal weight on four rings.

    .. math:: x \sim \tfrac1{32} \sum_{r=2}^{5} \sum_{k=0}^{7}
        \mathcal N\big(r\, (\cos \tfrac{k\pi}4, \sin \tfrac{k\pi}4), 0.1^2 I\big)

    Args:
        num_train: training rows; splits have streams of their own, as those of `load_gmm5`.
        num_valid: validation rows.
        num_test: test rows.
        seed: of all three streams.

    Raises:
        UsageError: a split without rows, or the seed is negative.

    Reference: Song and Ou, Learning neural random fields with inclusive auxiliary generators, 2018,
    whose 1600 training rows these are in number. Angles are not stated there.

    >>> load_gmm32(num_train=3).info.dim
    2
    """
    sizes = {"num_train": num_train, "num_valid": num_valid, "num_test": num_test}
    return GMM32.splits(**sizes, seed=seed)
