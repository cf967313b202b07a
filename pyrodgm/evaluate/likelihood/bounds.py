"""Bounds on the log-likelihood from importance weights of the guide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.ais import annealed
from pyrodgm.evaluate.likelihood.bound import Bound, scores_table
from pyrodgm.evaluate.likelihood.frame_energy import frame_likelihood, likelihood_by
from pyrodgm.evaluate.likelihood.importance import checked, choose_exact, uses_noise, weigh
from pyrodgm.evaluate.likelihood.normaliser import (
    NormaliserEstimator,
    normaliser,
    potentials,
    refuse_other,
)
from pyrodgm.evaluate.likelihood.quadrature import quadrature
from pyrodgm.evaluate.likelihood.weights import (
    has_bound,
    has_weights,
    importance_weights,
    refuse_without_weights,
)
from pyrodgm.evaluate.passes import sequence_evidence
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, FrameEnergyModel, Model

if TYPE_CHECKING:
    import pandas as pd

Estimator = Literal["auto", "elbo", "iwae", "fivo", "exact", "quadrature", "ais", "importance"]


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
    check_estimator(model, guide, particles=particles, estimator=estimator)
    if isinstance(model, EnergyModel):
        if uses_noise(model, estimator):
            return _field_bounds(model, guide, sequences, estimator, particles, seed)
        return _energy_bounds(model, sequences, estimator, seed)
    used = _chosen(model, guide, estimator, particles)
    if used == "quadrature":
        return quadrature(model, sequences), used
    if used == "ais":
        return annealed(model, guide, sequences, seed=seed).nats, used
    if used == "fivo":
        return sequence_evidence(model, guide, sequences, particles=particles, seed=seed), used
    draws = 1 if used == "exact" else particles
    log_w = importance_weights(model, guide, sequences, particles=draws, seed=seed)
    if used == "elbo":
        return log_w.mean(0).numpy(), used
    return (log_w.logsumexp(0) - math.log(draws)).numpy(), used


def check_estimator(
    model: Model, guide: Guide, *, particles: int = 1, estimator: Estimator = "auto"
) -> None:
    """Raise where these arguments of `bound` do not apply to a model and guide.

    Raises:
        UsageError: they do not.
    """
    if not isinstance(model, EnergyModel):
        if _chosen(model, guide, estimator, particles) not in ("quadrature", "ais"):
            refuse_without_weights(model, guide)
    elif uses_noise(model, estimator):
        checked(model, guide)
        choose_exact(model, estimator)
    else:
        refuse_other(model, estimator)
        if particles != 1:
            raise UsageError(
                f"{type(model).__name__} has no latents to draw, but {particles} particles were "
                "requested; its accuracy depends on --chains and --temperatures"
            )


def _energy_bounds(
    model: EnergyModel, sequences: Sequences, estimator: Estimator, seed: int
) -> tuple[np.ndarray, str]:
    """The potential minus log Z, or minus its upper estimate."""
    used = cast("NormaliserEstimator", estimator)
    if isinstance(model, FrameEnergyModel):
        of_frames = frame_likelihood(model, sequences, estimator=used, seed=seed)
        return of_frames.lower, likelihood_by(model, of_frames.normaliser)
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
    check_whole(particles=particles)
    if estimator == "ais" and particles != 1:
        raise UsageError(
            f"ais does not draw particles, but {particles} were requested; its accuracy depends on "
            "--chains and --temperatures"
        )
    if estimator == "importance":
        raise UsageError(
            f"importance estimates the normaliser of an energy model, and {type(model).__name__} "
            "is none; leave the estimator out for what this model has"
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
