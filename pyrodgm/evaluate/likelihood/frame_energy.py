"""Log-likelihoods of models whose frames are normalised one by one, each given the past."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.likelihood.annealing import forward_weights, reverse_weights
from pyrodgm.evaluate.likelihood.bound import FILTERED_PATHS
from pyrodgm.evaluate.likelihood.normaliser import (
    Normaliser,
    NormaliserEstimator,
    check_scorable,
    checked,
    error_of_mean,
)
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.models.energies import FrameEnergies
from pyrodgm.models.frame_energy import FrameEnergyModel

CHAINS, TEMPERATURES = 4, 500  # of every frame
SOME_FRAMES, FEW_TEMPERATURES = 500, 200  # of an estimate in training
NUMBERS_AT_ONCE = 2**17  # chains x frames x features annealed together: they stay in the cache


@dataclass(frozen=True)
class FrameLikelihood:
    """Log-likelihoods of N sequences, between two estimates, and the normalisers behind them.

    Args:
        lower: with the upper estimates of log Z, (N,), in nats.
        upper: with the lower estimates of log Z, (N,), in nats; equal if log Z is exact.
        normaliser: means over all frames.
    """

    lower: np.ndarray
    upper: np.ndarray
    normaliser: Normaliser


def frame_likelihood(
    model: FrameEnergyModel,
    sequences: Sequences,
    *,
    estimator: NormaliserEstimator = "auto",
    chains: int = CHAINS,
    temperatures: int = TEMPERATURES,
    seed: int = 0,
    progress: Progress = silent,
) -> FrameLikelihood:
    r"""The log-likelihood of sequences, :math:`\sum_t \phi(x_t; s_{t-1}) - \log Z(s_{t-1})`.

    By annealing every frame has chains of its own, in both directions: forward chains give log Z
    too low in expectation, reverse chains from the frame itself too high, as for rows
    (`pyrodgm.evaluate.likelihood.energy`). Their errors are independent, so those of the mean over
    frames are small; the bias is not averaged out, and falls with the number of temperatures.

    Args:
        model: a model of frames given those before.
        sequences: the split.
        estimator: "auto" is exact if the model says that it can be enumerated, and ais otherwise.
        chains: of every frame, in each direction.
        temperatures: steps of a chain.
        seed: of all draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        CompatibilityError: log Z is to be exact, but cannot be enumerated.
        DataError: frames that an energy model cannot score.
        UsageError: an unknown estimator, no chains or no temperatures.
    """
    used = checked(model, estimator, chains, temperatures)
    check_scorable(model, sequences)
    sizes = None if used == "exact" else (chains, temperatures)
    lower, upper, found = np.zeros(len(sequences)), np.zeros(len(sequences)), []
    with drawing(model, seed, "annealing") as device:
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size, progress=progress):
            batch = sequences.batch(rows).to(device)
            owner = rows[batch.mask.nonzero()[:, 0].cpu().numpy()]
            states, x = model.states(batch)[0, :, :-1][batch.mask], batch.x[batch.mask]
            for part in _parts(len(x), model.frame_size * chains):
                frames = model.frames(states[part])
                log_z = _exact(frames) if sizes is None else _annealed(frames, x[part], *sizes)
                own = frames.potential(x[part]).double()
                np.add.at(lower, owner[part], (own - log_z.upper).cpu().numpy())
                np.add.at(upper, owner[part], (own - log_z.lower).cpu().numpy())
                found.append(log_z)
    return FrameLikelihood(lower, upper, _summary(model, found, sizes))


def likelihood_by(model: FrameEnergyModel, normaliser: Normaliser) -> str:
    """The estimator of a log-likelihood: of log Z, or the filter that draws hidden units."""
    filtered = model.filtered and normaliser.estimator == "exact"
    return FILTERED_PATHS if filtered else normaliser.estimator


def annealed_estimate(
    model: FrameEnergyModel,
    sequences: Sequences,
    *,
    frames: int = SOME_FRAMES,
    temperatures: int = FEW_TEMPERATURES,
    seed: int = 0,
) -> float:
    """A cheap estimate of nats per frame: one short chain in each direction for some frames.

    It is the lower of the two numbers of `frame_likelihood` for these frames. Usually that is the
    one by reverse chains; but these do not see modes of the model that are far from the data, which
    forward chains may find.

    Args:
        model: a model of frames given those before.
        sequences: the split.
        frames: number of frames, spread evenly over the split; all if there are no more.
        temperatures: steps of a chain.
        seed: of the chains; the global generator is left alone.

    Raises:
        DataError: frames that an energy model cannot score.
    """
    check_scorable(model, sequences)
    lengths, low, high = sequences.lengths, 0.0, 0.0
    starts = lengths.cumsum() - lengths
    chosen = torch.zeros(sequences.num_frames, dtype=torch.bool)
    spread = torch.linspace(0, len(chosen) - 1, min(frames, len(chosen)), dtype=torch.float64)
    chosen[spread.round().long()] = True
    with drawing(model, seed, "annealed estimate") as device:
        for rows, _ in chunks(lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            places = torch.from_numpy(starts[rows])[:, None] + torch.arange(batch.length)
            used = batch.mask & chosen[places.clamp(max=len(chosen) - 1)].to(device)
            states, x = model.states(batch)[0, :, :-1][used], batch.x[used]
            for part in _parts(len(x), model.frame_size):
                energies = model.frames(states[part])
                log_z = _annealed(energies, x[part], 1, temperatures)
                own = energies.potential(x[part]).double()
                low, high = low + (own - log_z.upper).sum(), high + (own - log_z.lower).sum()
    return min(float(low), float(high)) / int(chosen.sum())


class _LogZ(NamedTuple):
    """Estimates of the log Z of some frames, (F,), and their variances."""

    lower: Tensor
    upper: Tensor
    lower_variance: Tensor
    upper_variance: Tensor


def _parts(frames: int, width: int) -> Iterator[slice]:
    """Frames that are annealed together."""
    size = max(1, NUMBERS_AT_ONCE // width)
    for start in range(0, frames, size):
        yield slice(start, min(start + size, frames))


def _exact(frames: FrameEnergies) -> _LogZ:
    log_z = frames.log_normaliser()
    return _LogZ(log_z, log_z, torch.zeros_like(log_z), torch.zeros_like(log_z))


def _annealed(frames: FrameEnergies, x: Tensor, chains: int, temperatures: int) -> _LogZ:
    """By chains in both directions; reverse ones start at the frames x, (F, D)."""
    path = frames.annealing()
    forward = forward_weights(path, chains, temperatures)
    back = reverse_weights(path, x.expand(chains, *x.shape), temperatures)
    lower = forward.logsumexp(0) - math.log(chains)
    shares = (forward - lower).exp()
    variances = (error_of_mean(each).square() for each in (shares, back))
    return _LogZ(lower, back.mean(0), *variances)


def _summary(
    model: FrameEnergyModel, found: list[_LogZ], sizes: tuple[int, int] | None
) -> Normaliser:
    """Means over all frames, with the standard errors of these means."""
    lower, upper, *variances = (torch.cat(each).double() for each in zip(*found, strict=True))
    low, high = (float(each.sum().sqrt()) / len(each) for each in variances)
    means = float(lower.mean()), float(upper.mean())
    if sizes is None:
        return Normaliser("exact", *means, exactly_by=model.exactly_by, frames=len(lower))
    return Normaliser("ais", *means, low, high, *sizes, frames=len(lower))
