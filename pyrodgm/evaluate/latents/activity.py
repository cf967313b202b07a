"""Expected value of every latent unit in every frame under the guide, and the units it uses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import draw, pair_factors
from pyrodgm.engine.factors import Factor
from pyrodgm.engine.sites import sizes
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.guides import Guide
from pyrodgm.models import Model

ACTIVE = 0.01  # variance over data of the posterior mean, above which a unit is active
ERRORS = 4.0  # standard errors of a variance that is estimated from draws, in `ACTIVE`


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
    return _averaged(model, guide, sequences, draws, seed, "expected latents")


def activities(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 10, seed: int = 0
) -> dict[str, np.ndarray]:
    r"""Variance over frames of the posterior mean of every latent, by site, (J,).

    .. math:: A_j = \mathrm{Cov}_{x, t}(m_{tj}, m'_{tj}), \qquad
        m_{tj}, m'_{tj} \approx \mathbb{E}_{q(z \mid x)} z_{tj}

    with two independent estimates of the mean, so that their noise adds nothing in expectation. A
    unit is active above 0.01; below, it is nearly the same for all data, and so unused. Bits are
    measured in the same way: their mean is a probability, between 0 and 1.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split.
        draws: paths of each of the two estimates.
        seed: of the draws; the global generator is left alone.

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, section 5.1.
    """
    one, two = (
        _averaged(model, guide, sequences, draws, seed, f"activities {half}") for half in (1, 2)
    )
    return {
        name: ((one[name] - one[name].mean(0)) * (two[name] - two[name].mean(0))).mean(0)
        for name in one
    }


def drawn_activities(
    model: Model, guide: Guide, sequences: Sequences, *, seed: int = 0
) -> np.ndarray:
    r"""Variance over rows of the posterior mean of every latent, by draws alone, (J,).

    .. math:: A_j = \mathrm{Var}_i(\bar z_{ij}) - \frac1K\, \overline{s^2_{j}}, \qquad
        \bar z_{ij} = \frac1K \sum_k z^k_{ij}

    where :math:`s^2_{ij}` is the variance of the K draws of row i, so that the estimate is
    unbiased. Its standard error for a latent that ignores the rows and has variance one,
    :math:`\sqrt2 / K \sqrt N`, is a quarter of the 0.01 above which `activities` calls a unit
    active: K follows from the number N of rows. Neither guide nor model need a density.

    Args:
        model: the model p, of rows.
        guide: the guide q.
        sequences: the rows.
        seed: of the draws; the global generator is left alone.
    """
    rows, dims = len(sequences), sizes(model.latents)
    number = max(2, math.ceil(ERRORS * math.sqrt(2 / rows) / ACTIVE))
    total, squares = np.zeros((2, rows, sum(dims.values())))
    with drawing(model, seed, "drawn activities") as device:
        for chosen, part in chunks(sequences.lengths, number, width=model.frame_size):
            values = draw(guide, sequences.batch(chosen).to(device), part.stop - part.start).values
            z = np.concatenate([values[name][:, :, 0].double().cpu() for name in dims], -1)
            total[chosen] += z.sum(0)
            squares[chosen] += np.square(z).sum(0)
    within = (squares - total**2 / number) / (number - 1)
    ddof = min(1, rows - 1)
    return (total / number).var(0, ddof=ddof) - within.mean(0) / number


def _averaged(
    model: Model, guide: Guide, sequences: Sequences, draws: int, seed: int, stream: str
) -> dict[str, np.ndarray]:
    """Means over paths of the guide, by site, (sum of lengths, J)."""
    found = {
        name: np.zeros((sequences.num_frames, dim)) for name, dim in sizes(model.latents).items()
    }
    with drawing(model, seed, stream) as device:
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
        mean = _mean(proposed[name])
        yield name, mean.expand(draws, batch.size, batch.length, -1).mean(0)


def _mean(factor: Factor) -> Tensor:
    """The mean of a latent given those before it; its value where the mean is not known."""
    try:
        return factor.distribution.mean
    except NotImplementedError:  # a distribution transformed by a flow
        return factor.value
