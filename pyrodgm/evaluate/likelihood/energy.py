"""The log-likelihood of energy models: exact, bracketed by two bounds, or pseudo-likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from pyrodgm.data.base import Sequences
from pyrodgm.errors import NonFiniteError, UsageError
from pyrodgm.evaluate.likelihood.bounds import Bound
from pyrodgm.evaluate.likelihood.normaliser import (
    CHAINS,
    TEMPERATURES,
    Normaliser,
    NormaliserEstimator,
    normaliser,
    potentials,
)
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.passes import Progress, chunks, drawing, silent
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel

CROSSED = (
    "The lower estimate is above the upper one: the chains are too noisy, or rows of the data are "
    "unlike draws from the model. Increase --chains and --temperatures."
)
BITS = 16  # number of bits per frame used by the pseudo-likelihood


@dataclass(frozen=True)
class EnergyLikelihood:
    """The log-likelihood of a split under an energy model, bracketed by two bounds.

    Args:
        lower: by the upper estimate of log Z: conservative.
        upper: by the lower estimate of log Z: optimistic. Both are equal if log Z is exact.
        normaliser: the estimates of log Z.
    """

    lower: Bound
    upper: Bound
    normaliser: Normaliser

    @property
    def exact(self) -> bool:
        """Whether the log-likelihood is exact."""
        return self.normaliser.estimator == "exact"

    def text(self) -> str:
        """A sentence that explains the numbers."""
        z = self.normaliser
        if self.exact:
            return f"log Z = {z.lower:.4f} nats, by {z.exactly_by}."
        return (
            f"log Z is at least {z.lower:.2f} (standard error {z.standard_error_lower:.2f}) by "
            f"{z.chains} chains of {z.temperatures} temperatures from a known distribution, and at "
            f"most {z.upper:.2f} (standard error {z.standard_error_upper:.2f}) by reverse chains "
            "from the data. Both hold in expectation, the second for the distribution in which the "
            "forward chains end. The standard errors in the table do not include these errors. "
            + ("More --temperatures narrow the bracket." if z.lower <= z.upper else CROSSED)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the lower bound as for any model, then the further numbers."""
        return {
            **self.lower.to_dict(),
            "upper_nats_per_example": self.upper.nats_per_example,
            "upper_nats_per_frame": self.upper.nats_per_frame,
            "log_normaliser_nats": self.normaliser.to_dict(),
        }


def energy_likelihood(
    model: Model,
    sequences: Sequences,
    *,
    estimator: NormaliserEstimator = "auto",
    chains: int = CHAINS,
    temperatures: int = TEMPERATURES,
    seed: int = 0,
    progress: Progress = silent,
) -> EnergyLikelihood:
    r"""The log-likelihood of independent frames, :math:`\phi(x) - \log Z`.

    If log Z is estimated by annealed importance sampling, forward chains give an upper bound on the
    log-likelihood in expectation. Reverse chains, which start at frames of these sequences, give a
    lower bound on the log-probability that forward chains end in a frame; for long chains this is
    the log-likelihood. The bounds converge with the number of temperatures.

    Args:
        model: an energy model.
        sequences: the split.
        estimator: as in `normaliser`.
        chains: number of chains of ais, in each direction.
        temperatures: steps of each chain of ais.
        seed: of the chains; the global generator is left alone.
        progress: called with the share done, in [0, 1].

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
    given = {"chains": chains, "temperatures": temperatures, "seed": seed, "progress": progress}
    found = normaliser(model, sequences, estimator=estimator, **given)
    nats, lengths = potentials(model, sequences), sequences.lengths
    lower, upper = (
        Bound.of(nats - log_z * lengths, lengths, found.estimator)
        for log_z in (found.upper, found.lower)
    )
    return EnergyLikelihood(lower, upper, found)


def pseudo_likelihood(model: EnergyModel, sequences: Sequences, *, seed: int = 0) -> float:
    r"""Mean log-probability of every bit given the others of its frame, in nats per frame.

    .. math:: \sum_d \log p(x_d \mid x_{-d}) = \sum_d \log \sigma(\phi(x) - \phi(\bar x^d))

    where :math:`\bar x^d` is x with bit d flipped. No normaliser is needed. For frames with more
    than 16 bits, the sum is estimated from 16 bits drawn at random, the same ones for the same
    seed.

    Args:
        model: a model of bits.
        sequences: the split.
        seed: of the choice of bits; the global generator is left alone.

    Reference: Besag, Statistical analysis of non-lattice data, 1975.
    """
    nats = 0.0
    with drawing(model, seed, "pseudo-likelihood") as device:
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            dim = batch.x.shape[-1]
            looked = torch.rand(batch.x.shape).argsort(-1)[..., :BITS].to(device)
            own, total = model.potential(batch.x, batch), torch.zeros_like(batch.x[..., 0])
            for bit in looked.split(1, -1):
                other = batch.x.scatter(-1, bit, 1 - batch.x.gather(-1, bit))
                total += F.logsigmoid(own - model.potential(other, batch))
            share = looked.shape[-1] / dim
            nats += float(total.masked_fill(~batch.mask, 0.0).double().sum()) / share
    return nats / sequences.num_frames


def validate_energy(model: EnergyModel, sequences: Sequences, *, seed: int = 0) -> Validation:
    """Validation score of an energy model: the exact log-likelihood, or the pseudo-likelihood.

    The latter is for bits; other models without an exact normaliser have no score.

    Args:
        model: the model.
        sequences: a split.
        seed: of the choice of bits in the pseudo-likelihood.

    Raises:
        NonFiniteError: the score is not finite.
    """
    if model.enumerable:
        found = Validation.of(energy_likelihood(model, sequences, estimator="exact").lower)
    elif model.info.kind != "binary":
        return Validation()
    else:
        nats = pseudo_likelihood(model, sequences, seed=seed)
        found = Validation("pseudo-likelihood", nats, {"pseudo_nats_per_frame": nats})
    if found.score is None or not math.isfinite(found.score):
        raise NonFiniteError(f"the {found.by} score on validation is {found.score}")
    return found
