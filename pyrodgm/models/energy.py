"""Models with an unnormalised density."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import pyro
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.models import bitwise
from pyrodgm.models.base import Model, ModelTraits
from pyrodgm.models.energies import Annealing, Energies, Noise
from pyrodgm.models.kernel_path import KernelPath
from pyrodgm.networks.codes import Codes
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means
from pyrodgm.networks.lengths import LogNormaliser

ChainKind = Literal["gibbs", "gibbs-with-gradients", "discrete-langevin", "sgld", "sghmc", "mala"]


class EnergyModel(Model):
    r"""A model given by an unnormalised log-density of observations.

    .. math:: p(x) = \frac{1}{Z} \exp \sum_t \phi_t(x)

    Hidden units, if any, are summed out of :math:`\phi`. The normaliser Z, or an estimate of it,
    belongs to the objective or the evaluation. A potential of a whole sequence is given at its
    first frame, and is zero at the others; so is its normaliser.

    For bits, only `potential` must be defined: draws, annealing paths and, up to 16 bits, the
    normaliser have defaults from `pyrodgm.models.bitwise`, with D evaluations per sweep. For rows
    of real numbers it must be differentiable, and chains and paths follow its gradient. A model
    with faster methods, such as joint draws of many bits, overrides them.

    Args:
        info: the data's facts; its features are D.

    Attributes:
        codes: of observations, on which Markov kernels act.
        chain: the kind of kernel that its chains have where an objective leaves the choice.
        gibbs_steps: usual Gibbs sweeps of a chain in a step of training.
        sweeps: moves of a chain that draws a sample along the path of `annealing`.
        exactly_by: how log Z is computed where it is exact, "enumeration" or "integration".
        smooth: whether the potential of real numbers has second derivatives that say how it curves;
            that of rectified units has not.
        of_sequences: whether potential and normaliser are those of whole sequences, and not of
            frames.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=None, density="unnormalised")
    chain: ChainKind = "gibbs"
    gibbs_steps: int = 1
    sweeps: int = 2000
    exactly_by: str = "enumeration"
    smooth: bool = True
    of_sequences: ClassVar[bool] = False
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})

    def __init__(self, info: DataInfo) -> None:
        super().__init__(info)
        self.latents = {}
        self.observed = {"x": info.dim}
        self.codes = Codes(info)
        if info.kind == "real" and type(self).gibbs is EnergyModel.gibbs:
            self.chain = "sgld"

    @abstractmethod
    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The unnormalised log-density by frame, (..., B, T), of observations (..., B, T, D).

        Args:
            x: observations.
            batch: with conditions and mask; its own observations must not be used.
        """

    def potential_of_codes(self, codes: Tensor, batch: Batch) -> Tensor:
        """The same of codes (..., B, T, S), along whose gradient Markov kernels move.

        A model of symbols overrides it with a differentiable function of their one-hot codings.

        Args:
            codes: see `pyrodgm.networks.codes`.
            batch: with conditions and mask.
        """
        return self.potential(self.codes.decoded(codes), batch)

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """One sweep of draws of every variable given the others, which leaves p unchanged.

        Args:
            x: observations, (..., B, T, D).
            batch: with conditions and mask.

        Raises:
            CompatibilityError: observations are not bits, and the model has no draws of its own.
        """
        self._refuse_unless_bits("gibbs(x, batch)", "draws for a Markov chain")
        return bitwise.sweep(lambda x: self.potential(x, batch), x)

    def given(self, batch: Batch) -> Energies:
        """The distributions of the frames of a batch, for several evaluations.

        A model of frames given those before takes these from the observations of the batch.
        """
        return BatchEnergies(self, batch)

    @property
    def enumerable(self) -> bool:
        """Whether `log_normaliser` can be computed; by default for rows of at most 16 bits."""
        bits = self.info.kind == "binary" and self.info.dim <= bitwise.MOST_BITS
        return bits and self.traits.sequential is False

    def log_normaliser(self) -> Tensor:
        """The exact log Z of a frame by enumeration, in nats, in double precision, a scalar.

        Raises:
            CompatibilityError: it cannot be enumerated.
        """
        if not self.enumerable:
            raise CompatibilityError(
                f"{type(self).__name__} has too many states to enumerate, or defines no "
                "log_normaliser(); its normaliser can be estimated, as --estimator ais does"
            )
        return bitwise.log_sum(self._of_rows, self._rates())

    def log_normalisers(self, batch: Batch) -> Tensor:
        """The exact log Z by frame, (B, T), of which a sequence has the sum over its frames.

        Args:
            batch: gives lengths and conditions; its observations must not be used.

        Raises:
            CompatibilityError: it cannot be enumerated.
        """
        return self.log_normaliser().expand(batch.mask.shape)

    def free_log_normaliser(self) -> nn.Module:
        """Log Z as parameters that an objective learns: a module, from a batch to (B, T)."""
        return LogNormaliser()

    def over(self, noise: Noise) -> None:
        """Take a noise distribution as a part of the potential; by default it is not used.

        An objective with a guide over observations calls it with the guide.
        """
        del noise

    def log_ratio(self, x: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """The log of the unnormalised density relative to a noise distribution, by frame, (B, T).

        Args:
            x: observations, (B, T, D).
            batch: with conditions and mask.
            noise: the distribution.
        """
        return self.potential(x, batch) - noise.log_prob(x, batch)

    def annealing(self) -> Annealing:
        """A path from the marginals of the training data to this model, of rows.

        Raises:
            CompatibilityError: observations are symbols, or whole sequences, and the model has no
                path of its own.
        """
        if self.info.kind == "real" and not self.of_sequences:
            like = next(self.parameters(), means(self.info))
            return KernelPath(self._of_codes, self.info, self.codes, like)
        self._refuse_unless_bits("annealing()", "path from a known distribution to itself")
        return bitwise.BitwisePath(self._of_rows, self._rates().logit())

    def _of_rows(self, x: Tensor) -> Tensor:
        """The potential of independent rows, (..., D) to (...)."""
        frames = x.unsqueeze(-2)
        flat = frames.flatten(0, -3)
        return self.potential(flat, Batch.of(flat)).view(x.shape[:-1])

    def _of_codes(self, codes: Tensor) -> Tensor:
        """The potential of independent rows by their codes, (..., S) to (...)."""
        frames = codes.unsqueeze(-2)
        flat = frames.flatten(0, -3)
        batch = Batch.of(self.codes.decoded(flat.detach()))
        return self.potential_of_codes(flat, batch).view(codes.shape[:-1])

    def _rates(self) -> Tensor:
        """Training frequency of every bit, bounded away from 0 and 1, (D,)."""
        rates = means(self.info).clamp(LEAST_RATE, 1 - LEAST_RATE)
        return rates.to(next(self.parameters()))

    def _refuse_unless_bits(self, method: str, what: str) -> None:
        if self.of_sequences:
            raise CompatibilityError(
                f"{type(self).__name__} has no {what}: its frames depend on each other; draws and "
                "log Z come from a noise distribution, see --estimator importance"
            )
        if self.info.kind != "binary":
            raise CompatibilityError(
                f"{type(self).__name__} has no {what}, and only for bits does one follow from the "
                f"potential (the data has {self.info.kind} values); write {method}, see "
                "pyrodgm.models.EnergyModel"
            )

    def forward(self, batch: Batch) -> None:
        """Declare the potential of the batch to Pyro as the factor ``x``, of batch shape (B, T).

        A plate of particles goes to dimension -3.
        """
        with (
            Weights(self, register=True).stated(),
            pyro.plate("sequences", batch.size, dim=-2),
            pyro.plate("frames", batch.length, dim=-1),
        ):
            pyro.factor("x", self.potential(batch.x, batch).masked_fill(~batch.mask, 0.0))


@dataclass(frozen=True)
class BatchEnergies:
    """The potential and the draws of a model for one batch.

    Args:
        model: the model.
        batch: with conditions and mask.
    """

    model: EnergyModel
    batch: Batch

    def potential(self, x: Tensor) -> Tensor:
        """The unnormalised log-density by frame, (..., B, T), of observations (..., B, T, D)."""
        return self.model.potential(x, self.batch)

    def potential_of_codes(self, codes: Tensor) -> Tensor:
        """The same of codes (..., B, T, S)."""
        return self.model.potential_of_codes(codes, self.batch)

    def gibbs(self, x: Tensor) -> Tensor:
        """One sweep of draws, (..., B, T, D)."""
        return self.model.gibbs(x, self.batch)
