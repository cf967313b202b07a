"""Simulation-based calibration: whether the guide's draws are those of the posterior.

For latents z and observations x drawn from the model, z is a draw from the posterior given x. If
the guide is the posterior, the rank of z among draws from the guide is uniform, for every function
of z and x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from arviz_stats.ecdf_utils import compute_ecdf, get_pointwise_confidence_band
from scipy.stats import binom
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.engine.draws import factors, pair_factors, simulate_like
from pyrodgm.engine.factors import Factors
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.passes import FRAMES_AT_ONCE, Progress, drawing, silent
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StepModel
from pyrodgm.seeds import numpy_generator

FALSE_POSITIVES = 0.01  # probability that any rank of an exact guide is found not uniform
FEWEST = 20  # simulated sequences
DRAWS = 99  # of the guide, for every simulated sequence
MOST_UNITS = 8  # latents whose ranks are tested: the most active ones
ROUNDING = 1e-9
NULL = 10_000  # simulated sets of uniform ranks, from which the band is computed


@dataclass(frozen=True)
class Calibration:
    r"""Ranks of simulated values among draws from the guide, between 0 and 1.

    Args:
        ranks: by quantity, of S simulated sequences, (S,): the share of draws that are lower, with
            equal ones counted at random, so that they are uniform for an exact guide.
        draws: of the guide for every simulated sequence, L.
        at: points in (0, 1) where the empirical distribution function is tested, (S - 1,).
        lower: its lower limit there, (S - 1,).
        upper: its upper limit. An exact guide exceeds the limits, in any quantity, with
            probability 0.01.
    """

    ranks: Mapping[str, np.ndarray]
    draws: int
    at: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def simulated(self) -> int:
        """Number of simulated sequences, S."""
        return len(next(iter(self.ranks.values())))

    def differences(self, name: str) -> np.ndarray:
        """The empirical distribution function of the ranks less the uniform one, (S - 1,)."""
        return compute_ecdf(self.ranks[name], self.at) - self.at

    def misfits(self) -> dict[str, str]:
        """Quantities whose ranks are not uniform, and how the guide's draws are wrong."""
        low, high = self.lower - self.at, self.upper - self.at
        found = {name: self.differences(name) for name in self.ranks}
        return {
            name: _fault(self.ranks[name])
            for name, off in found.items()
            if bool(((off < low - ROUNDING) | (off > high + ROUNDING)).any())
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        wrong = self.misfits()
        return {
            "simulated": self.simulated,
            "draws": self.draws,
            "false_positive_rate": FALSE_POSITIVES,
            "quantities": {
                name: {
                    "uniform": name not in wrong,
                    "draws_are": wrong.get(name),
                    "mean_rank": float(ranks.mean()),
                    "largest_difference": float(np.abs(self.differences(name)).max()),
                }
                for name, ranks in self.ranks.items()
            },
        }


def calibration_words(found: Mapping[str, Any]) -> str:
    """A sentence on a calibration, as `Calibration.to_dict` has it."""
    quantities = found["quantities"]
    wrong = {name: of["draws_are"] for name, of in quantities.items() if not of["uniform"]}
    how = (
        f"Calibration on {found['simulated']} sequences simulated from the model, with "
        f"{found['draws']} draws of the guide each"
    )
    rate = f"an exact guide fails with probability {found['false_positive_rate']:g}"
    if not wrong:
        return f"{how}: the ranks of all {len(quantities)} quantities are uniform ({rate})."
    faults = ", ".join(f"{name} (draws {fault})" for name, fault in wrong.items())
    return (
        f"{how}: the ranks of {len(wrong)} of {len(quantities)} quantities are not uniform "
        f"({rate}), so the guide is not the posterior: {faults}."
    )


def calibration(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    activities: Mapping[str, np.ndarray],
    *,
    simulated: int,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress = silent,
) -> Calibration:
    r"""Ranks of simulated latents among draws from the guide.

    .. math:: r = \frac{\#\{l : f(z^l, x) < f(z, x)\} + U}{L + 1}, \qquad
        z, x \sim p, \quad z^l \sim q(\cdot \mid x), \quad U \sim \mathcal U(0, 1)

    with equal values, as among bits, counted at random. The functions f are single latents (their
    mean over the frames of a sequence), log p(z), and log p(x | z), which depends on the data, so
    that it also fails for a guide that is the prior.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: their lengths and conditions are simulated.
        activities: of the latents by site, (J,); ranks are computed of the most active ones.
        simulated: number of simulated sequences, S.
        draws: of the guide for each, L.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        UsageError: too few simulated sequences.
        CompatibilityError: a model that is not simulated in the shape of the data.

    Reference: Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian inference
    algorithms with simulation-based calibration, 2018; Modrak et al., Simulation-based calibration
    checking for Bayesian computation: the choice of test quantities shapes sensitivity, 2023;
    Saeilynoja, Buerkner and Vehtari, Graphical test for discrete uniformity and its applications in
    goodness-of-fit evaluation and multiple sample comparison, 2022.
    """
    refuse(model, simulated)
    like = sequences.select(np.arange(simulated) * len(sequences) // simulated)
    ranks: dict[str, np.ndarray] = {}
    rng, units = numpy_generator(seed, "ranks"), most_active(activities)
    with drawing(model, seed, "calibration") as device:
        portions = evaluation_batches(like.lengths, max(1, FRAMES_AT_ONCE // draws))
        for i, rows in enumerate(portions):
            batch = like.batch(rows).to(device)
            true, drawn = _pair(cast("StepModel", model), guide, batch, draws, units)
            for name, value in true.items():
                found = ranks.setdefault(name, np.empty(simulated))
                found[rows] = _ranks(value, drawn[name], rng)
            progress((i + 1) / len(portions))
    return Calibration(ranks, draws, *_band(simulated, len(ranks), seed))


def refuse(model: Model, simulated: int) -> None:
    """Raise unless a model can be simulated, and often enough.

    Raises:
        UsageError: too few simulated sequences.
        CompatibilityError: a model that is not simulated in the shape of the data.
    """
    if simulated < FEWEST:
        raise UsageError(
            f"calibration with {simulated} simulated sequences cannot find anything; give at least "
            f"{FEWEST}, and a few hundred for small errors"
        )
    if not isinstance(model, StepModel):
        raise CompatibilityError(
            f"{type(model).__name__} is not defined frame by frame, and cannot be simulated in the "
            "shape of the data, which calibration needs"
        )


def most_active(activities: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """The units with the largest activity, by site.

    >>> most_active({"z": np.arange(10.0)})
    {'z': [2, 3, 4, 5, 6, 7, 8, 9]}
    """
    places = [(value, name, j) for name, of in activities.items() for j, value in enumerate(of)]
    chosen = sorted(places, reverse=True)[:MOST_UNITS]
    return {
        name: sorted(j for _, site, j in chosen if site == name)
        for name in activities
        if any(site == name for _, site, _ in chosen)
    }


def _pair(
    model: StepModel, guide: Guide, batch: Batch, draws: int, units: Mapping[str, list[int]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Quantities of simulated latents, (B,), and of draws given what was simulated, (L, B)."""
    latents, batch = simulate_like(model, batch)
    true = _quantities(model, factors(model, batch, latents), batch, units)
    drawn, _ = pair_factors(model, guide, batch, draws)
    return {name: value[0] for name, value in true.items()}, _quantities(model, drawn, batch, units)


def _quantities(
    model: Model, p: Factors, batch: Batch, units: Mapping[str, list[int]]
) -> dict[str, np.ndarray]:
    """Functions of latents and observations, by name, (K, B)."""
    found: dict[str, Tensor] = {}
    for name, chosen in units.items():
        value = p[name].value.double() * batch.mask[..., None]
        mean = value.sum(-2) / batch.lengths[:, None]
        found |= {f"{name}[{j}]": mean[..., j] for j in chosen}
    names = {"log p(z)": model.latents, "log p(x | z)": model.observed}
    for name, sites in names.items():
        nats = [p[site].log_prob.double().sum(-1) for site in sites]
        found[name] = torch.stack(torch.broadcast_tensors(*nats)).sum(0)
    return {name: value.cpu().numpy() for name, value in found.items()}


def _ranks(true: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ranks of values (B,) among draws (L, B), uniform in (0, 1) if they are alike."""
    lower, equal = (drawn < true).sum(0), (drawn == true).sum(0)
    return (lower + rng.random(len(true)) * (equal + 1)) / (len(drawn) + 1)


def _band(count: int, quantities: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, and limits of the distribution function of uniform numbers at all of them.

    The pointwise level is that which uniform numbers satisfy at all points together with the wanted
    probability. `arviz_stats` computes it with a call per simulation, which is slow for as many
    simulations as several quantities need.
    """
    at, points = np.arange(1, count) / count, np.arange(count - 1)
    table = binom.cdf(np.arange(-1, count + 1)[:, None], count, at)
    cells = np.full(count, 1 / count)
    counts = numpy_generator(seed, "band").multinomial(count, cells, NULL).cumsum(1)[:, :-1]
    tails = np.minimum(table[counts + 1, points], 1 - table[counts, points]).min(1)
    level = 1 - FALSE_POSITIVES / quantities
    pointwise = np.quantile(1 - 2 * tails, level, method="higher")
    return at, *get_pointwise_confidence_band(pointwise, count, at)


def _fault(ranks: np.ndarray) -> str:
    """How draws are wrong, by the mean and the variance of the ranks of true values."""
    count = len(ranks)
    shift = (ranks.mean() - 0.5) * np.sqrt(12 * count)
    spread = (ranks.var() - 1 / 12) * np.sqrt(180 * count)
    if abs(shift) > abs(spread):
        return "too low" if shift > 0 else "too high"
    return "too narrow" if spread > 0 else "too wide"
