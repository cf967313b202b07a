"""Models whose density is known up to its normaliser."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import pyro
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.weights import Weights
from pyrodgm.errors import CompatibilityError
from pyrodgm.models.base import Model, ModelTraits


class EnergyModel(Model):
    r"""A model given by an unnormalised log-density of observations.

    .. math:: p(x) = \frac{1}{Z} \exp \sum_t \phi_t(x)

    Hidden units, if any, are summed out of :math:`\phi`. The normaliser Z, or an estimate of it,
    belongs to the objective or the evaluation.

    Args:
        info: the data's facts; its features are D.
    """

    traits: ClassVar[ModelTraits] = ModelTraits(
        latents="none", sequential=None, density="unnormalised"
    )

    def __init__(self, info: DataInfo) -> None:
        super().__init__(info)
        self.latents = {}
        self.observed = {"x": info.dim}

    @abstractmethod
    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """The unnormalised log-density by frame, (..., B, T), of observations (..., B, T, D).

        Args:
            x: observations.
            batch: gives conditions and mask; its observations are not to be looked at.
        """

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """One sweep of draws of every variable given the others, which leaves p unchanged.

        Args:
            x: observations, (..., B, T, D).
            batch: gives conditions and mask.

        Raises:
            CompatibilityError: the model has no conditional draws.
        """
        del x, batch
        raise CompatibilityError(
            f"{type(self).__name__} has no conditional draws for a Markov chain; write "
            "gibbs(x, batch), or take an objective that needs no chain"
        )

    def forward(self, batch: Batch) -> None:
        """State the potential of the batch to Pyro as the factor ``x``, of batch shape (B, T).

        A plate of particles goes to dimension -3.
        """
        with (
            Weights(self, register=True).stated(),
            pyro.plate("sequences", batch.size, dim=-2),
            pyro.plate("frames", batch.length, dim=-1),
        ):
            pyro.factor("x", self.potential(batch.x, batch).masked_fill(~batch.mask, 0.0))
