"""How draws of a generator resemble data: their spread, and the share of each near the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.passes import drawing
from pyrodgm.models.implicit import Generator

NEIGHBOURS = 5
FEWEST = 4 * NEIGHBOURS  # frames, below which there is no neighbourhood to speak of
MOST = 1000  # frames that are compared


class Resemblance(NamedTuple):
    """Draws beside as many data.

    Args:
        draws_spread: mean distance between two draws, relative to that between two data.
        draws_coverage: share of the data with a draw in their neighbourhood.
        draws_realistic: share of the draws in the neighbourhood of data.
    """

    draws_spread: float
    draws_coverage: float
    draws_realistic: float


def resemblance(
    generator: Generator,
    sequences: Sequences,
    features: Callable[[Tensor], Tensor],
    *,
    seed: int = 0,
) -> Resemblance | None:
    r"""Compare frames with as many draws under the same conditions.

    The neighbourhood of a datum is the ball that reaches to its fifth nearest other datum. Of draws
    from the distribution of the data itself, about :math:`1 - 2^{-5}` = 97 % of the data have one
    nearby.

    Args:
        generator: the model.
        sequences: the split; at most 1000 of its rows, spread evenly.
        features: of frames, (..., D) to (..., F), such as standardised ones.
        seed: of the draws.

    Returns:
        None if there are too few frames, or if they are all equal.

    Reference: Naeem et al., Reliable fidelity and diversity metrics for generative models, 2020
    (coverage); Kynkaanniemi et al., Improved precision and recall metric, 2019 (realistic).
    """
    rows = np.unique(np.linspace(0, len(sequences) - 1, min(len(sequences), MOST)).astype(int))
    with drawing(generator, seed, "resemblance") as device:
        batch = sequences.batch(rows).to(device)
        data = features(batch.x)[batch.mask][:MOST]
        draws = features(generator.draw(batch)[0])[batch.mask][:MOST]
        return None if len(data) < FEWEST else _compared(data, draws)


def _compared(data: Tensor, draws: Tensor) -> Resemblance | None:
    between, own = torch.cdist(draws, data), torch.cdist(data, data)
    if float(own.mean()) == 0:
        return None
    radius = own.sort(1).values[:, NEIGHBOURS]  # the nearest is the datum itself
    near = between <= radius
    spread = torch.cdist(draws, draws).mean() / own.mean()
    covered, realistic = near.any(0), near.any(1)
    return Resemblance(*(float(x.to(data).mean()) for x in (spread, covered, realistic)))
