"""The log-likelihood of energy models: exact, between two bounds, or by the pseudo-likelihood."""

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
from pyrodgm.evaluate.passes import Tell, chunks, drawing, silent
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel

CROSSED = (
    "The two have crossed: what separates them is noise of the chains, or rows of the data are not "
    "as if drawn from the model. Raise --chains and --temperatures."
)
BITS = 16  # of every frame, that the pseudo-likelihood looks at


@dataclass(frozen=True)
class EnergyLikelihood:
    """The log-likelihood of a split under an energy model, between two bounds.

    Args:
        lower: by the upper estimate of log Z: conservative.
        upper: by the lower estimate of log Z: optimistic. Both are the same where it is exact.
        normaliser: the estimates of log Z.
    """

    lower: Bound
    upper: Bound
    normaliser: Normaliser

    @property
    def exact(self) -> bool:
        """Whether the log-likelihood is known."""
        return self.normaliser.estimator == "exact"

    def text(self) -> str:
        """What the numbers are, in words."""
        z = self.normaliser
        if self.exact:
            return f"log Z = {z.lower:.4f} nats, by enumeration."
        return (
            f"log Z is at least {z.lower:.2f} (standard error {z.standard_error_lower:.2f}) by "
            f"{z.chains} chains of {z.temperatures} temperatures from a known distribution, and at "
            f"most {z.upper:.2f} (standard error {z.standard_error_upper:.2f}) by chains that go "
            "back from the data. Both hold in expectation, the second for the distribution that "
            "forward chains end in. Standard errors of the table do not contain these. "
            + ("More --temperatures bring the two together." if z.lower <= z.upper else CROSSED)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the lower bound as of any model, and what is beside it."""
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
    tell: Tell = silent,
) -> EnergyLikelihood:
    r"""The log-likelihood of independent frames, :math:`\phi(x) - \log Z`.

    Where log Z is estimated by annealed importance sampling, chains that go forward give an upper
    bound of the log-likelihood in expectation, and chains that go back from frames of these
    sequences a lower bound on the log-probability that forward chains end in a frame, which is the
    model's where they are long enough. The two come together as temperatures are added.

    Args:
        model: an energy model.
        sequences: the split.
        estimator: as of `normaliser`, and so are the others.
        chains: of ais, in each direction.
        temperatures: of ais, steps of each chain.
        seed: of the chains; the global generator is left alone.
        tell: called with the share that is done.

    Raises:
        UsageError: the model is no energy model, or as of `normaliser`.

    Reference: Burda, Grosse and Salakhutdinov, Accurate and conservative estimates of MRF
    log-likelihood using reverse annealing, 2015.
    """
    if not isinstance(model, EnergyModel):
        raise UsageError(
            f"{type(model).__name__} has no normaliser to estimate; run.evaluate gives its "
            "log-likelihood, or a bound on it"
        )
    given = {"chains": chains, "temperatures": temperatures, "seed": seed, "tell": tell}
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

    where :math:`\bar x^d` is x with bit d the other way. No normaliser is needed. Of frames with
    more than 16 bits, 16 are looked at, drawn at random and weighted up; the same ones for the same
    seed.

    Args:
        model: a model of bits.
        sequences: the split.
        seed: of the bits that are looked at; the global generator is left alone.

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
    """What weights of a model of bits are chosen by: exact where it can be, else pseudo-likelihood.

    Args:
        model: the model.
        sequences: a split.
        seed: of the bits that the pseudo-likelihood looks at.

    Raises:
        NonFiniteError: the score is not finite.
    """
    if model.enumerable:
        found = Validation.of(energy_likelihood(model, sequences, estimator="exact").lower)
    else:
        nats = pseudo_likelihood(model, sequences, seed=seed)
        found = Validation("pseudo-likelihood", nats, {"pseudo_nats_per_frame": nats})
    if found.score is None or not math.isfinite(found.score):
        raise NonFiniteError(f"the {found.by} score on validation is {found.score}")
    return found
