"""Coverage of known modes by draws, and the share of draws that are near a mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrodgm.tables import Measured

WITHIN = 3.0  # standard deviations of a component
SETS, SIZE = 100, 100  # sets of draws, and draws in each


@dataclass(frozen=True)
class Coverage:
    """How draws cover known modes.

    Args:
        covered: modes with at least one of `size` draws near them; a mean over sets of draws.
        realistic: share of all draws that are near a mode.
        shares: of all draws, near each mode, (M,).
        size: draws of a set.
    """

    covered: Measured
    realistic: Measured
    shares: np.ndarray
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "modes": len(self.shares),
            "covered": self.covered.value,
            "standard_error_covered": self.covered.error,
            "realistic": self.realistic.value,
            "standard_error_realistic": self.realistic.error,
            "found": int((self.shares > 0).sum()),
            "shares": self.shares.tolist(),
            "draws_in_a_set": self.size,
        }


def near(x: np.ndarray, modes: np.ndarray, std: float) -> np.ndarray:
    """Whether each point is near each mode, (N, M).

    Args:
        x: points, (N, D).
        modes: (M, D).
        std: standard deviation around a mode; a point is near within three of them.
    """
    return np.less(np.linalg.norm(x[:, None] - modes, axis=-1), WITHIN * std)


def shares(x: np.ndarray, modes: np.ndarray, std: float) -> np.ndarray:
    """The share of points near each mode, (M,).

    >>> shares(np.array([[2.0, 2.1], [0.0, 0.0], [1.0, 1.0]]), np.array([[0, 0], [2, 2]]), 0.2)
    array([0.33333333, 0.33333333])
    """
    return near(x, modes, std).mean(0)


def coverage(x: np.ndarray, modes: np.ndarray, std: float) -> Coverage:
    """Covered modes and realistic share of draws, in sets of 100.

    Args:
        x: independent draws, (N, D); 100 sets of 100 in the reference.
        modes: (M, D).
        std: standard deviation around a mode.

    Reference: Song and Ou, Learning neural random fields with inclusive auxiliary generators, 2018.
    """
    hits = near(x, modes, std)
    size = min(SIZE, len(x))
    sets = len(x) // size
    covered = hits[: sets * size].reshape(sets, size, -1).any(1).sum(1)
    return Coverage(measured(covered), measured(hits.max(1)), hits.mean(0), size)


def exact_coverage(modes: int, dim: int, size: int = SIZE) -> tuple[float, float]:
    r"""Expected covered modes and realistic share of exact draws, where modes are far apart.

    .. math:: M \big(1 - (1 - p / M)^n\big), \qquad p = P(\chi^2_D < 3^2)

    Args:
        modes: M of equal weight.
        dim: features D.
        size: draws of a set, n.

    >>> covered, realistic = exact_coverage(32, 2)
    >>> round(covered, 2), round(realistic, 3)
    (30.61, 0.989)
    """
    half = torch.tensor([dim / 2, WITHIN**2 / 2], dtype=torch.float64)
    realistic = float(torch.special.gammainc(*half))
    return modes * (1 - (1 - realistic / modes) ** size), realistic


def measured(values: np.ndarray) -> Measured:
    """A mean over independent values with its standard error."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Measured(float(values.mean()), float(error))
