"""The normaliser of an energy model: exact by enumeration, or bracketed by two estimates."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.errors import DataError, UsageError
from pyrodgm.evaluate.likelihood.annealing import forward_weights, reverse_weights
from pyrodgm.evaluate.passes import Progress, chunks, silent
from pyrodgm.models.energy import EnergyModel
from pyrodgm.seeds import forked, numpy_generator

CHAINS, TEMPERATURES = 100, 1000
NOTABLE = 0.01  # nats by which estimates may contradict each other
NormaliserEstimator = Literal["auto", "exact", "ais"]


@dataclass(frozen=True)
class Normaliser:
    """The log Z of a frame, in nats.

    Args:
        estimator: "exact" or "ais".
        lower: log of the mean weight of forward chains, below log Z in expectation; log Z itself
            if it is exact.
        upper: mean log weight of reverse chains from rows of the data. It is above log Z in
            expectation if the rows are distributed as the model; see `reverse_weights`.
        standard_error_lower: of `lower`, over chains, by the delta method; NaN of a single chain.
        standard_error_upper: of `upper`, over chains; NaN of a single chain.
        chains: in each direction; 0 if exact.
        temperatures: steps of each chain; 0 if exact.
        exactly_by: "enumeration" or "integration" if it is exact; empty otherwise.
        frames: frames with a normaliser of their own, whose means these are; None if all frames
            share one. The standard errors are then those of the means.
    """

    estimator: str
    lower: float
    upper: float
    standard_error_lower: float = 0.0
    standard_error_upper: float = 0.0
    chains: int = 0
    temperatures: int = 0
    exactly_by: str = ""
    frames: int | None = None

    @property
    def crossed(self) -> bool:
        """Whether the lower estimate is above the upper one by more than their errors explain."""
        error = math.hypot(self.standard_error_lower, self.standard_error_upper)
        return self.lower - self.upper > max(NOTABLE, 2 * (0.0 if math.isnan(error) else error))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; the standard error of a single chain is null."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def normaliser(
    model: EnergyModel,
    sequences: Sequences,
    *,
    estimator: NormaliserEstimator = "auto",
    chains: int = CHAINS,
    temperatures: int = TEMPERATURES,
    seed: int = 0,
    progress: Progress = silent,
) -> Normaliser:
    """The log Z of a model of independent frames.

    Args:
        model: the model.
        sequences: frames at which reverse chains start.
        estimator: "auto" is exact if the model can be enumerated, and ais otherwise.
        chains: number of chains of ais, in each direction.
        temperatures: steps of each chain of ais.
        seed: of the chains; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        CompatibilityError: the model cannot be enumerated, or has no path to anneal along.
        DataError: frames that an energy model cannot score.
        UsageError: an unknown estimator, no chains or no temperatures.
    """
    check_scorable(model, sequences)
    with torch.no_grad():
        if checked(model, estimator, chains, temperatures) == "exact":
            exact = float(model.log_normaliser())
            return Normaliser("exact", exact, exact, exactly_by=model.exactly_by)
        with forked(seed, "annealing"):
            return _annealed(model, sequences, chains, temperatures, seed, progress)


def check_scorable(model: EnergyModel, sequences: Sequences) -> None:
    """Raise unless sequences are complete, and bits where the model is one of bits.

    The potential of a frame with missing values would be a sum over all that they may be, and that
    of grey values is not their cross-entropy.

    Raises:
        DataError: they are not.
    """
    x, name = sequences.x, type(model).__name__
    if sequences.has_missing:
        raise DataError(
            f"the data has missing values, and {name}, whose density is unnormalised, scores "
            "complete frames; fill them in, or leave these sequences out"
        )
    if model.info.kind == "binary" and x.is_floating_point() and bool((x != x.round()).any()):
        raise DataError(
            f"the data has grey values, and {name}, whose density is unnormalised, scores zeros "
            "and ones; round them, or draw bits from them"
        )


def refuse_other(model: EnergyModel, estimator: str) -> None:
    """Raise unless an estimator is one of the normaliser.

    Raises:
        UsageError: it is another one.
    """
    if estimator not in get_args(NormaliserEstimator):
        raise UsageError(
            f"estimator '{estimator}' does not apply to {type(model).__name__}, whose density is "
            f"unnormalised; choose among {', '.join(get_args(NormaliserEstimator))}"
        )


def enumerates(model: EnergyModel, estimator: str) -> bool:
    """Whether an estimator of the normaliser is a sum over all states of a model."""
    return estimator == "exact" or (estimator == "auto" and model.enumerable)


def checked(
    model: EnergyModel, estimator: str, chains: int, temperatures: int
) -> Literal["exact", "ais"]:
    """The estimator to use for a model.

    Raises:
        UsageError: an unknown estimator, no chains or no temperatures.
    """
    refuse_other(model, estimator)
    check_whole(chains=chains, temperatures=temperatures)
    return "exact" if enumerates(model, estimator) else "ais"


def _annealed(
    model: EnergyModel,
    sequences: Sequences,
    chains: int,
    temperatures: int,
    seed: int,
    progress: Progress,
) -> Normaliser:
    """Both directions."""
    path, like = model.annealing(), next(model.parameters())
    forward = forward_weights(
        path, chains, temperatures, progress=lambda share: progress(share / 2)
    )
    rng = numpy_generator(seed, "annealing", "rows")
    frames = rng.choice(sequences.num_frames, chains, replace=chains > sequences.num_frames)
    x = sequences.centred(sequences.x[torch.from_numpy(frames)]).to(like)
    back = reverse_weights(path, x, temperatures, progress=lambda share: progress((1 + share) / 2))
    lower = forward.logsumexp(0) - math.log(chains)
    shares = (forward - lower).exp()
    return Normaliser(
        "ais",
        float(lower),
        float(back.mean()),
        float(error_of_mean(shares)),
        float(error_of_mean(back)),
        chains,
        temperatures,
    )


def error_of_mean(values: Tensor) -> Tensor:
    """The standard error of a mean over chains, (M, ...) to (...); NaN of a single chain."""
    if len(values) < 2:
        return torch.full_like(values[0], math.nan)
    return values.std(0) / math.sqrt(len(values))


def potentials(model: EnergyModel, sequences: Sequences) -> np.ndarray:
    """The unnormalised log-density of every sequence, (N,), in nats.

    Raises:
        DataError: frames that an energy model cannot score.
    """
    check_scorable(model, sequences)
    device, nats = next(model.parameters()).device, np.empty(len(sequences))
    with torch.no_grad():
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            found = model.potential(batch.x, batch).masked_fill(~batch.mask, 0.0)
            nats[rows] = found.double().sum(-1).cpu().numpy()
    return nats
