"""Expected value of every latent unit in every frame under the guide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import pair_factors
from pyrodgm.engine.sites import sizes
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides import Guide
from pyrodgm.models import Model


def expected_latents(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    r"""Mean of every latent in every frame under the guide; a probability for binary latents.

    .. math:: \frac1K \sum_k \mathbb{E}_q[z_t \mid z^k_{<t}, x], \qquad z^k \sim q(z \mid x)

    Args:
        model: the model p, over the same latents.
        guide: the guide q.
        sequences: the split.
        draws: number of paths averaged over, K.
        seed: of the draws; the global generator is left alone.

    Returns:
        Arrays by site, frames of all sequences end to end, (sum of lengths, J); empty for a model
        without latents.
    """
    found = {
        name: np.zeros((sequences.num_frames, dim)) for name, dim in sizes(model.latents).items()
    }
    with drawing(model, seed, "expected latents") as device:
        for rows, part in chunks(sequences.lengths, draws, width=model.frame_size):
            batch, paths = sequences.batch(rows).to(device), part.stop - part.start
            for name, value in _expected(model, guide, batch, paths):
                for row, frames in zip(rows, value.cpu().numpy(), strict=True):
                    start, length = sequences.starts[row], sequences.lengths[row]
                    found[name][start : start + length] += paths / draws * frames[:length]
    return found


def _expected(model: Model, guide: Guide, batch: Batch, draws: int) -> Iterator[tuple[str, Tensor]]:
    """Every site's mean over K paths, (B, T, J)."""
    _, proposed = pair_factors(model, guide, batch, draws)
    for name in model.latents:
        mean = proposed[name].distribution.mean
        yield name, mean.expand(draws, batch.size, batch.length, -1).mean(0)
