"""The log-likelihood of a random field beside that of its noise distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.display import json_number
from pyrodgm.errors import NonFiniteError
from pyrodgm.evaluate.likelihood.bound import Bound, standard_error
from pyrodgm.evaluate.likelihood.importance import (
    FieldEstimator,
    Weighed,
    checked,
    choose_exact,
    weigh,
)
from pyrodgm.evaluate.likelihood.validation import EXACT, Validation
from pyrodgm.evaluate.passes import Progress, silent
from pyrodgm.evaluate.posterior.diagnostics import (
    MIN_DRAWS,
    RELIABLE_DRAWS,
    THRESHOLD,
    effective_sample_size,
    pareto_k,
)
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.sequence_field import SequenceField

ABOVE_NOISE = "above_noise_nats_per_example"
IMPORTANCE = "a lower bound on the log-likelihood, by draws of the noise,"
VALIDATION_DRAWS = 32  # for each normaliser
APART = 10.0  # nats between the estimates of a log Z from which on the upper one says nothing
LEAST_ACCEPTED = 0.1  # acceptance below which the noise is called a poor proposal


@dataclass(frozen=True)
class FieldLikelihood:
    """The log-likelihood of a split under a field, bracketed, and under its noise.

    Args:
        lower: by the upper estimate of log Z: conservative.
        upper: by the lower estimate of log Z: optimistic. Both are equal if log Z is exact.
        noise: the log-likelihood of the noise on the same sequences, exact if it has a density, and
            a lower bound in expectation otherwise, of which `above_noise` then is.
        above_noise: mean over sequences of the field's lower value minus the noise's, in nats.
        above_noise_error: of that mean, over sequences (paired) and draws together.
        draws: of the noise for each normaliser; 0 if log Z is exact.
        normalisers: number of different ones.
        k_hat: of the weights of each normaliser, (G,); NaN with fewer than 25 draws.
        efficiency: effective share of the draws, the mean over normalisers; None if exact.
        acceptance: of a Metropolis independence chain from the noise; None if exact.
        highest_above: the mean above the noise of the examples of one normaliser, frames or
            sequences, by its lower estimate; the largest of all normalisers.
        apart: the difference of the two estimates of log Z, the largest of all normalisers.
        standard_error_of_log_z: of the mean log Z of a sequence, over draws.
        length_nats: mean log-probability of the lengths of the sequences, which is not a part of
            the other numbers; None if the field has no distribution of lengths.
    """

    lower: Bound
    upper: Bound
    noise: Bound
    above_noise: float
    above_noise_error: float
    draws: int
    normalisers: int
    k_hat: np.ndarray
    efficiency: float | None
    acceptance: float | None
    highest_above: float
    apart: float
    standard_error_of_log_z: float
    length_nats: float | None

    @property
    def exact(self) -> bool:
        """Whether the log-likelihood is exact."""
        return self.draws == 0

    def text(self) -> str:
        """Sentences that explain the numbers."""
        found = [
            self._difference(),
            "log Z is exact, by enumeration." if self.exact else self._estimates(),
        ]
        if self.length_nats is not None:
            found.append(
                f"The length of a sequence has {self.length_nats:.3f} nats, which are not included."
            )
        return " ".join(found)

    def _difference(self) -> str:
        """How far the field is above or below its noise."""
        if self.apart > APART:
            return (
                "The halves of the draws give values of log Z that differ by many nats, so that "
                "the lower bound says nothing."
            )
        side = "above" if self.above_noise >= 0 else "below"
        return (
            f"The field is {abs(self.above_noise):.3f} nats per sequence {side} {self._beside} "
            f"(standard error {self.above_noise_error:.3f}, of paired differences"
            + (")." if self.exact else " and of log Z), by the lower bound.")
        )

    @property
    def _beside(self) -> str:
        """What the field is compared with."""
        exact = self.noise.estimator == "exact"
        return "its noise" if exact else "a lower bound on its noise"

    def _estimates(self) -> str:
        """How log Z is estimated, and whether that can be trusted."""
        accepted = self.acceptance or 0.0
        poor = "; the noise is a poor proposal, and samples are hardly those of the field"
        each = "" if self.normalisers == 1 else f" for each of {self.normalisers} normalisers"
        return (
            f"log Z is estimated by {self.draws} draws of the noise{each}: too low in "
            "expectation, which gives the upper bound, and too high, which gives the lower one. "
            "The standard errors in the table do not include that of the mean log Z, "
            f"{self.standard_error_of_log_z:.2g}. {self._reliability()} A Metropolis "
            f"independence chain accepts {accepted:.1%} of the noise's draws"
            f"{poor if accepted < LEAST_ACCEPTED else ''}."
        )

    def _reliability(self) -> str:
        """Whether the estimates of log Z can be trusted, by the tail of the weights."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        share = f"The effective share of the draws is {self.efficiency or 0.0:.1%}"
        covered = math.log(self.draws)
        if self.highest_above > covered:
            of = "the data" if self.normalisers == 1 else "the data of one normaliser"
            return (
                f"{share}. On {of} the field is {self.highest_above:.4g} nats above its noise by "
                f"the upper bound, more than the logarithm of the draws, {covered:.3g}: "
                "they hardly reach the data, log Z is too low, and the log-likelihood too high. A "
                "noise closer to the data helps, such as that of dnce."
            )
        if not len(known):
            return f"{share}; k-hat of the weights needs at least {MIN_DRAWS} draws (--particles)."
        worst = float(known.max())
        if worst <= THRESHOLD and self.draws < RELIABLE_DRAWS:
            return (
                f"{share}, k-hat of the weights at most {worst:.2f}, which is reliable from "
                f"{RELIABLE_DRAWS} draws for each normaliser on (--particles)."
            )
        if worst <= THRESHOLD:
            return f"{share}, k-hat of the weights at most {worst:.2f}: log Z can be trusted."
        bad = int((known > THRESHOLD).sum())
        return (
            f"{share}. k-hat of the weights is above {THRESHOLD} for {bad} of {len(known)} "
            f"normalisers (at most {worst:.2f}): rare draws with large weights may be missing, and "
            "then log Z is too low, and the log-likelihood too high. A noise closer to "
            "the field helps, such as that of dnce, or stronger regularisation of the field."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the lower bound as for any model, then the further numbers."""
        known = self.k_hat[~np.isnan(self.k_hat)]
        return {
            **self.lower.to_dict(),
            "upper_nats_per_example": json_number(self.upper.nats_per_example),
            "upper_nats_per_frame": json_number(self.upper.nats_per_frame),
            "noise": self.noise.to_dict(),
            "above_noise_nats_per_example": json_number(self.above_noise),
            "standard_error_above_noise": json_number(self.above_noise_error),
            "log_normaliser_nats": {
                "estimator": self.lower.estimator,
                "draws": self.draws,
                "normalisers": self.normalisers,
                "standard_error_of_mean": json_number(self.standard_error_of_log_z),
                "k_hat": json_number(float(known.max())) if len(known) else None,
                "k_hat_above_threshold": int((known > THRESHOLD).sum()),
                "effective_share": self.efficiency,
            },
            "acceptance": self.acceptance,
            "length_nats_per_example": (
                None if self.length_nats is None else json_number(self.length_nats)
            ),
        }


def field_likelihood(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    estimator: FieldEstimator = "auto",
    draws: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> FieldLikelihood:
    r"""The log-likelihood of sequences under a field, with log Z from draws of its noise.

    .. math:: \log p(x) = \log q(x) + \log \frac{e^{\phi(x)}}{q(x)} - \log Z, \qquad
        Z = \mathrm{E}_q \frac{e^{\phi(x)}}{q(x)}

    The difference to the noise has no contribution of :math:`\log q(x)`, and so a small standard
    error. See `pyrodgm.evaluate.likelihood.importance` for the two estimates of log Z.

    Args:
        model: an energy model of frames or of whole sequences.
        guide: the noise, over observations, whose draws have weights.
        sequences: the split.
        estimator: of log Z: "importance", or "exact" by enumeration; "auto" is exact if it can be.
        draws: from the noise for each normaliser; 20,000 in all if not given, and at least 100.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        CompatibilityError: log Z is to be exact, but cannot be enumerated.
        UsageError: the model is not an energy model, draws of the guide have no weights,
            there are fewer than two draws, or another estimator.
    """
    field, noise = checked(model, guide)
    exact = choose_exact(field, estimator)
    given = {"exact": exact, "draws": draws, "seed": seed, "progress": progress}
    found = weigh(field, noise, sequences, **given)
    above = found.above_noise(found.of_groups.upper)
    lengths, log_w = sequences.lengths, found.of_groups.log_w
    number, groups = log_w.shape
    efficiency = float(effective_sample_size(log_w).mean()) / number if number else None
    return FieldLikelihood(
        lower=_bound(found, found.of_groups.upper, lengths),
        upper=_bound(found, found.of_groups.lower, lengths),
        noise=Bound.of(found.noise, lengths, "exact" if noise.traits.has_density else "elbo"),
        above_noise=float(above.mean()),
        above_noise_error=math.hypot(standard_error(above), found.error_of_mean),
        draws=number,
        normalisers=groups,
        k_hat=pareto_k(log_w) if number >= MIN_DRAWS else np.full(groups, np.nan),
        efficiency=efficiency,
        acceptance=found.of_groups.acceptance,
        highest_above=float(found.above_noise_by_normaliser(found.of_groups.lower).max()),
        apart=float((found.of_groups.upper - found.of_groups.lower).max()),
        standard_error_of_log_z=found.error_of_mean,
        length_nats=_length_nats(field, lengths),
    )


def validate_field(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    draws: int = VALIDATION_DRAWS,
    seed: int = 0,
) -> Validation:
    """Validation score of a field: its log-likelihood, exact or the lower bound by its noise.

    Args:
        model: the field.
        guide: its noise.
        sequences: a split.
        draws: from the noise for each normaliser.
        seed: of the draws.

    Raises:
        NonFiniteError: the score is not finite.
    """
    found = field_likelihood(model, guide, sequences, draws=draws, seed=seed)
    if not math.isfinite(found.lower.nats_per_frame):
        raise NonFiniteError(
            f"the log-likelihood of the field on validation is {found.lower.nats_per_frame}"
        )
    numbers = {
        "nats_per_frame": found.lower.nats_per_frame,
        "noise_nats_per_frame": found.noise.nats_per_frame,
        ABOVE_NOISE: found.above_noise,
    }
    by = EXACT if found.exact else IMPORTANCE
    return Validation(by, found.lower.nats_per_frame, numbers, (ABOVE_NOISE,))


def _bound(found: Weighed, log_z: np.ndarray, lengths: np.ndarray) -> Bound:
    """The log-likelihood by one of the estimates of log Z."""
    nats, draws = found.noise + found.above_noise(log_z), len(found.of_groups.log_w)
    return Bound.of(nats, lengths, "importance" if draws else "exact", draws)


def _length_nats(model: Model, lengths: np.ndarray) -> float | None:
    """Mean log-probability of lengths, if the field has a distribution of them."""
    if not isinstance(model, SequenceField):
        return None
    return float(model.lengths(torch.from_numpy(lengths).to(model.lengths.log_probs.device)).mean())
