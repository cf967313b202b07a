"""The log-likelihood of energy models: exact, or bracketed by two bounds; scores on validation."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from pyrodgm.data.base import Sequences
from pyrodgm.errors import NonFiniteError, UsageError
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.frame_energy import (
    annealed_estimate,
    frame_likelihood,
    likelihood_by,
)
from pyrodgm.evaluate.likelihood.normaliser import (
    Normaliser,
    NormaliserEstimator,
    normaliser,
    potentials,
)
from pyrodgm.evaluate.likelihood.pseudo import pseudo_likelihood
from pyrodgm.evaluate.likelihood.validation import ANNEALED, Validation
from pyrodgm.evaluate.passes import Progress, silent
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.frame_energy import FrameEnergyModel

CROSSED = (
    "The lower estimate is above the upper one: the chains are too noisy, or rows of the data are "
    "unlike draws from the model. Increase --chains and --temperatures."
)
SHARED = (
    "log Z is at least {lower:.2f} ({error_lower}) by {chains} chains "
    "of {temperatures} temperatures from a known distribution, and at most {upper:.2f} "
    "({error_upper}) by reverse chains from the data. Both hold in expectation, "
    "the second for the distribution in which the forward chains end. The standard errors in the "
    "table do not include these errors."
)
BY_FRAME = (
    "Every frame has a log Z of its own given the frames before it. The log-likelihoods are "
    "estimates: the mean log Z is at least {lower:.3f} ({error_lower}) "
    "by {chains} chains of {temperatures} temperatures for each of {frames} frames, and at most "
    "{upper:.3f} ({error_upper}) by reverse chains from the frames. "
    "Both hold in expectation, the second for the distribution in which the forward chains end. "
    "The standard errors in the table do not include these errors."
)
FILTERED = (
    "The hidden units of the past are drawn by a filter, one path for each sequence, so that these "
    "numbers are lower bounds on the log-likelihood in expectation."
)


@dataclass(frozen=True)
class EnergyLikelihood:
    """The log-likelihood of a split under an energy model, bracketed by two bounds.

    Args:
        lower: by the upper estimate of log Z: conservative.
        upper: by the lower estimate of log Z: optimistic. Both are equal if log Z is exact.
        normaliser: the estimates of log Z.
        filtered: whether hidden units of the past were drawn by a filter.
    """

    lower: Bound
    upper: Bound
    normaliser: Normaliser
    filtered: bool = False

    @property
    def exact(self) -> bool:
        """Whether the log-likelihood is exact."""
        return self.normaliser.estimator == "exact"

    def text(self) -> str:
        """A sentence that explains the numbers."""
        z = self.normaliser
        if self.exact:
            of_what = "log Z" if z.frames is None else "the mean log Z of a frame"
            return f"{of_what} = {z.lower:.4f} nats, by {z.exactly_by}.{self._filtered}"
        digits = 2 if z.frames is None else 3
        errors = {
            "error_lower": _in_words(z.standard_error_lower, digits),
            "error_upper": _in_words(z.standard_error_upper, digits),
        }
        return (
            (SHARED if z.frames is None else BY_FRAME).format(**asdict(z), **errors)
            + " "
            + (CROSSED if z.crossed else "More --temperatures narrow the bracket.")
            + self._filtered
        )

    @property
    def _filtered(self) -> str:
        return f" {FILTERED}" if self.filtered else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the lower bound as for any model, then the further numbers."""
        return {
            **self.lower.to_dict(),
            "upper_nats_per_example": self.upper.nats_per_example,
            "upper_nats_per_frame": self.upper.nats_per_frame,
            "log_normaliser_nats": self.normaliser.to_dict(),
            "filtered": self.filtered,
        }


def _in_words(error: float, digits: int) -> str:
    """A standard error over chains, of which one alone has none."""
    if math.isnan(error):
        return "standard error unknown: one chain"
    return f"standard error {error:.{digits}f}"


def energy_likelihood(
    model: Model,
    sequences: Sequences,
    *,
    estimator: NormaliserEstimator = "auto",
    seed: int = 0,
    progress: Progress = silent,
    **sizes: int,
) -> EnergyLikelihood:
    r"""The log-likelihood of frames, :math:`\phi(x) - \log Z`.

    If log Z is estimated by annealed importance sampling, forward chains give an upper bound on the
    log-likelihood in expectation. Reverse chains, which start at frames of these sequences, give a
    lower bound on the log-probability that forward chains end in a frame; for long chains this is
    the log-likelihood. The bounds converge with the number of temperatures. Where every frame has a
    normaliser given the frames before it, see `pyrodgm.evaluate.likelihood.frame_energy`.

    Args:
        model: an energy model.
        sequences: the split.
        estimator: as in `normaliser`.
        seed: of the chains; the global generator is left alone.
        progress: called with the share done, in [0, 1].
        sizes: `chains` of ais in each direction, and `temperatures`, the steps of each; by default
            100 and 1000 for one normaliser, and 4 and 500 for that of every frame.

    Raises:
        UsageError: the model is not an energy model, or as in `normaliser`.

    Reference: Burda, Grosse and Salakhutdinov, Accurate and conservative estimates of MRF
    log-likelihood using reverse annealing, 2015.
    """
    if not isinstance(model, EnergyModel):
        raise UsageError(
            f"{type(model).__name__} has no normaliser to estimate; run.evaluate gives its "
            "log-likelihood, or a bound on it"
        )
    if isinstance(model, FrameEnergyModel):
        given = {"estimator": estimator, "seed": seed, "progress": progress, **sizes}
        return _by_frame(model, sequences, **given)
    found = normaliser(model, sequences, estimator=estimator, seed=seed, progress=progress, **sizes)
    nats, lengths = potentials(model, sequences), sequences.lengths
    lower, upper = (
        Bound.of(nats - log_z * lengths, lengths, found.estimator)
        for log_z in (found.upper, found.lower)
    )
    return EnergyLikelihood(lower, upper, found)


def _by_frame(model: FrameEnergyModel, sequences: Sequences, **options: Any) -> EnergyLikelihood:
    """Where every frame has a normaliser of its own."""
    found = frame_likelihood(model, sequences, **options)
    lower, upper = (
        Bound.of(nats, sequences.lengths, likelihood_by(model, found.normaliser))
        for nats in (found.lower, found.upper)
    )
    return EnergyLikelihood(lower, upper, found.normaliser, model.filtered)


def validate_energy(model: EnergyModel, sequences: Sequences, *, seed: int = 0) -> Validation:
    """Validation score of an energy model: the exact log-likelihood, or what stands in for it.

    For bits and symbols it is the pseudo-likelihood, or an estimate by short annealing for a model
    of frames given those before, whose pseudo-likelihood can rise while the log-likelihood falls.
    For real numbers there is no score.

    Args:
        model: the model.
        sequences: a split.
        seed: of the draws.

    Raises:
        NonFiniteError: the score is not finite.
    """
    if model.enumerable:
        found = Validation.of(energy_likelihood(model, sequences, estimator="exact").lower)
    elif model.info.kind not in ("binary", "categorical"):
        return Validation()
    elif isinstance(model, FrameEnergyModel):
        nats = annealed_estimate(model, sequences, seed=seed)
        found = Validation(ANNEALED, nats, {"annealed_nats_per_frame": nats})
    else:
        nats = pseudo_likelihood(model, sequences, seed=seed)
        found = Validation("pseudo-likelihood", nats, {"pseudo_nats_per_frame": nats})
    if found.score is None or not math.isfinite(found.score):
        raise NonFiniteError(f"the {found.by} score on validation is {found.score}")
    return found
