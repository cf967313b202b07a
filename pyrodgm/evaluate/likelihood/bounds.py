"""Bounds on the log-likelihood from importance weights of the guide."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.engine.terms import terms
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.ais import annealed
from pyrodgm.evaluate.likelihood.frame_energy import frame_likelihood
from pyrodgm.evaluate.likelihood.importance import choose_exact, uses_noise, weigh
from pyrodgm.evaluate.likelihood.normaliser import (
    NormaliserEstimator,
    normaliser,
    potentials,
    refuse_other,
)
from pyrodgm.evaluate.likelihood.quadrature import integrates, quadrature
from pyrodgm.evaluate.passes import Progress, chunks, drawing, sequence_evidence, silent
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, FrameEnergyModel, Model

if TYPE_CHECKING:
    import pandas as pd

Estimator = Literal["auto", "elbo", "iwae", "fivo", "exact", "quadrature", "ais", "importance"]
LIKELIHOODS = ("exact", "quadrature")  # estimators of the log-likelihood itself


@dataclass(frozen=True)
class Bound:
    """A lower bound on the log-likelihood of a split; higher is better.

    Args:
        estimator: "elbo", "iwae", "fivo" or "ais" for bounds; "exact" or "quadrature" for the
            log-likelihood itself.
        particles: draws per sequence, K; 1 for exact values, quadrature and ais.
        nats_per_example: mean over sequences.
        standard_error_nats_per_example: of that mean, over sequences.
        nats_per_frame: total over all frames, divided by their number (frame-weighted).
        standard_error_nats_per_frame: of that ratio, over sequences.
        nats_per_frame_sequence_weighted: mean over sequences of each sequence's mean per frame.
        standard_error_nats_per_frame_sequence_weighted: of that mean, over sequences.
        examples: number of sequences.
        frames: number of frames.
    """

    estimator: str
    particles: int
    nats_per_example: float
    standard_error_nats_per_example: float
    nats_per_frame: float
    standard_error_nats_per_frame: float
    nats_per_frame_sequence_weighted: float
    standard_error_nats_per_frame_sequence_weighted: float
    examples: int
    frames: int

    @classmethod
    def of(
        cls, per_sequence: np.ndarray, lengths: np.ndarray, estimator: str, particles: int = 1
    ) -> Bound:
        """The bound in both weightings, from one number per sequence.

        Args:
            per_sequence: nats of each sequence, (N,).
            lengths: frames of each sequence, (N,).
            estimator: name of the estimator.
            particles: draws per sequence, K; 1 for exact values, quadrature and ais.
        """
        count = len(per_sequence)
        per_frame = per_sequence.sum() / lengths.sum()
        # Long sequences have more nats and more frames: their ratio varies less than either.
        each = per_sequence / lengths
        beside = (per_sequence - per_frame * lengths) / lengths.mean()
        return cls(
            estimator=estimator,
            particles=1 if estimator in (*LIKELIHOODS, "ais") else particles,
            nats_per_example=float(per_sequence.mean()),
            standard_error_nats_per_example=standard_error(per_sequence),
            nats_per_frame=float(per_frame),
            standard_error_nats_per_frame=standard_error(beside),
            nats_per_frame_sequence_weighted=float(each.mean()),
            standard_error_nats_per_frame_sequence_weighted=standard_error(each),
            examples=count,
            frames=int(lengths.sum()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; a standard error of a single sequence is null."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent numbers; NaN for a single number."""
    if len(values) < 2:
        return math.nan
    if not np.ptp(values):
        return 0.0  # where the computed deviation would be a rounding error
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def has_weights(model: Model, guide: Guide) -> bool:
    """Whether the guide's draws have importance weights: both must have normalised densities."""
    return model.traits.density == "normalised" and guide.traits.has_density


def has_bound(model: Model, guide: Guide) -> bool:
    """Whether the log-likelihood, or a bound on it, is computed by default.

    By importance weights, or by quadrature if there are few latents and little data; see
    `pyrodgm.evaluate.likelihood.quadrature`.
    """
    return has_weights(model, guide) or (model.traits.density == "normalised" and integrates(model))


def refuse_without_weights(model: Model, guide: Guide) -> None:
    """Raise if draws from the guide have no importance weights.

    Raises:
        UsageError: the model or the guide has no density.
    """
    if not has_weights(model, guide):
        without = guide if model.traits.density == "normalised" else model
        raise UsageError(
            f"{type(without).__name__} has no density that can be computed, and bounds on the "
            "log-likelihood and checks are made of importance weights, which need one; pyrodgm "
            "evaluate without options, sample and report show what there is"
        )


def bound(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    particles: int = 1,
    estimator: Estimator = "auto",
    seed: int = 0,
) -> Bound:
    r"""A bound on the log-likelihood of every sequence.

    .. math::
        \text{elbo} = \frac1K \sum_k \log w_k, \qquad
        \text{iwae} = \log \frac1K \sum_k w_k, \qquad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}

    and fivo is the logarithm of the estimate of p(x) by a particle filter with resampling
    (`pyrodgm.engine.smc`). All are lower bounds in expectation. They are equal at K = 1; iwae and
    fivo increase with K to log p(x), fivo faster on long sequences. For models without latents the
    log-likelihood itself is computed: exact.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split.
        particles: draws per sequence, K.
        estimator: "auto" is elbo for one particle and iwae for more. For models without latents
            both are the log-likelihood, and called exact. For rows with one or two continuous
            latents "quadrature" integrates over a grid of latents without a guide; "auto" chooses
            it if the guide has no density. "ais" anneals the latents of every sequence, without a
            guide and at great cost; `pyrodgm.evaluate.likelihood.ais` has its options and an upper
            bound. For energy models "auto" is exact if the normaliser can be enumerated and ais
            otherwise; `pyrodgm.evaluate.likelihood.energy` has the options and the upper bound.
            "importance", of energy models with a guide over observations, estimates log Z by draws
            of the guide; fields over sequences have it in the place of ais, see
            `pyrodgm.evaluate.likelihood.field`.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no particles, no densities, or an estimator that is unknown or does not apply
            to the model.

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, equation 8;
    Maddison et al., Filtering variational objectives, 2017, equation 6.
    """
    values, used = sequence_bounds(
        model, guide, sequences, particles=particles, estimator=estimator, seed=seed
    )
    return Bound.of(values, sequences.lengths, used, particles)


def sequence_bounds(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    particles: int = 1,
    estimator: Estimator = "auto",
    seed: int = 0,
) -> tuple[np.ndarray, str]:
    """The bound of every sequence, (N,), in nats, and the name of the estimator; see `bound`."""
    if isinstance(model, EnergyModel):
        if uses_noise(model, estimator):
            return _field_bounds(model, guide, sequences, estimator, particles, seed)
        return _energy_bounds(model, sequences, estimator, particles, seed)
    used = _chosen(model, guide, estimator, particles)
    if used == "quadrature":
        return quadrature(model, sequences), used
    if used == "ais":
        return annealed(model, guide, sequences, seed=seed).nats, used
    refuse_without_weights(model, guide)
    if used == "fivo":
        return sequence_evidence(model, guide, sequences, particles=particles, seed=seed), used
    draws = 1 if used == "exact" else particles
    log_w = importance_weights(model, guide, sequences, particles=draws, seed=seed)
    if used == "elbo":
        return log_w.mean(0).numpy(), used
    return (log_w.logsumexp(0) - math.log(draws)).numpy(), used


def _energy_bounds(
    model: EnergyModel, sequences: Sequences, estimator: Estimator, particles: int, seed: int
) -> tuple[np.ndarray, str]:
    """The potential minus log Z, or minus its upper estimate."""
    refuse_other(model, estimator)
    if particles != 1:
        raise UsageError(
            f"{type(model).__name__} has no latents to draw, but {particles} particles were "
            "requested; its accuracy depends on --chains and --temperatures"
        )
    used = cast("NormaliserEstimator", estimator)
    if isinstance(model, FrameEnergyModel):
        of_frames = frame_likelihood(model, sequences, estimator=used, seed=seed)
        return of_frames.lower, of_frames.normaliser.estimator
    found = normaliser(model, sequences, estimator=used, seed=seed)
    return potentials(model, sequences) - found.upper * sequences.lengths, found.estimator


def _field_bounds(
    field: EnergyModel,
    guide: Guide,
    sequences: Sequences,
    estimator: Estimator,
    particles: int,
    seed: int,
) -> tuple[np.ndarray, str]:
    """The log-likelihood with the exact log Z, or with its upper estimate by draws of the guide.

    A single particle stands for the default number of draws.
    """
    exact = choose_exact(field, estimator)
    draws = None if particles == 1 else particles
    found = weigh(field, guide, sequences, exact=exact, draws=draws, seed=seed)
    nats = found.noise + found.above_noise(found.of_groups.upper)
    return nats, "exact" if exact else "importance"


def sequence_scores(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    particles: int = 1,
    estimator: Estimator = "auto",
    seed: int = 0,
) -> pd.DataFrame:
    """The bound of every sequence as a table; see `bound` and `scores_table`."""
    nats, used = sequence_bounds(
        model, guide, sequences, particles=particles, estimator=estimator, seed=seed
    )
    return scores_table(nats, sequences.lengths, used)


def scores_table(
    nats: np.ndarray, lengths: np.ndarray, estimator: str, *, rows: np.ndarray | None = None
) -> pd.DataFrame:
    """Log-likelihoods of sequences as a table.

    Columns: ``sequence`` (row in the split), ``frames``, ``nats``, ``nats_per_frame`` and
    ``estimator``.

    Args:
        nats: of every sequence, (N,).
        lengths: frames of each, (N,).
        estimator: its name.
        rows: of the sequences in the split, (N,); 0, 1, 2 and so on if not given.
    """
    import pandas as pd  # slow to import

    return pd.DataFrame(
        {
            "sequence": np.arange(len(nats)) if rows is None else rows,
            "frames": lengths,
            "nats": nats,
            "nats_per_frame": nats / lengths,
            "estimator": estimator,
        }
    )


def _is_exact(model: Model) -> bool:
    """Whether the log-likelihood needs no draws."""
    return model.traits.latents == "none" and model.traits.density == "normalised"


def _refuse_unless_applicable(
    model: Model, guide: Guide, estimator: Estimator, particles: int
) -> None:
    """Raise if an estimator is unknown, or does not apply to the model and guide."""
    known = get_args(Estimator)
    if estimator not in known:
        raise UsageError(f"unknown estimator '{estimator}'; known: {', '.join(known)}")
    if particles < 1:
        raise UsageError(f"particles is {particles}; give at least 1")
    if estimator == "ais" and particles != 1:
        raise UsageError(
            f"ais does not draw particles, but {particles} were requested; its accuracy depends on "
            "--chains and --temperatures"
        )
    if estimator == "importance":
        raise UsageError(
            f"importance estimates the normaliser of an energy model, and {type(model).__name__} "
            f"is none; choose among {', '.join(known[:-1])}"
        )
    if estimator == "exact" and not _is_exact(model):
        refuse_without_weights(model, guide)
        raise UsageError(
            f"{type(model).__name__} has latents that cannot be summed out, so there is no exact "
            "value; the bounds are elbo, iwae and fivo; the last two increase with --particles"
        )


def _chosen(model: Model, guide: Guide, estimator: Estimator, particles: int) -> Estimator:
    """The requested estimator, or the one chosen by "auto"."""
    _refuse_unless_applicable(model, guide, estimator, particles)
    if _is_exact(model) and estimator not in ("fivo", "quadrature", "ais"):
        return "exact"
    if estimator == "auto" and not has_weights(model, guide) and has_bound(model, guide):
        return "quadrature"
    if estimator != "auto":
        return estimator
    return "elbo" if particles == 1 else "iwae"


def importance_weights(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    particles: int,
    seed: int = 0,
    progress: Progress = silent,
) -> Tensor:
    """Log importance weights of K draws for every sequence, (K, N), in double precision.

    `progress` is called with the share done, in [0, 1].

    Raises:
        UsageError: no particles, or no densities.
    """
    refuse_without_weights(model, guide)
    if particles < 1:
        raise UsageError(f"particles is {particles}; give at least 1")
    log_w = torch.empty(particles, len(sequences), dtype=torch.float64)
    with drawing(model, seed, "importance weights") as device:
        for rows, part in chunks(
            sequences.lengths, particles, width=model.frame_size, progress=progress
        ):
            batch = sequences.batch(rows).to(device)
            drawn = terms(model, guide, batch, part.stop - part.start)
            log_w[part, torch.from_numpy(rows)] = drawn.log_w.sum(-1).double().cpu()
    return log_w


def latent_nats(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 10, seed: int = 0
) -> float:
    r"""KL divergence from the prior to the guide, in nats per frame.

    .. math:: E_q \Big[\sum_t \log q(z_t \mid z_{<t}, x) - \log p(z_t \mid z_{<t}, x_{<t})\Big]
        \Big/ T

    This is the part of the ELBO that is not reconstruction. It is zero if the guide equals the
    prior: the latents are then unused (posterior collapse).
    """
    nats = 0.0
    with drawing(model, seed, "latent nats") as device:
        for rows, part in chunks(sequences.lengths, draws, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            kl = terms(model, guide, batch, part.stop - part.start).kl
            nats += sum(float(each.double().sum()) for each in kl.values())
    return nats / (draws * sequences.num_frames)
