"""The gradient of an energy model: its potential at the data against that at Markov chains."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import ChainWarning, CompatibilityError
from pyrodgm.evaluate.likelihood.energy import validate_energy
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import Energies, EnergyModel
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.state import Running

LEAST_MOBILITY = 0.01  # mobility below which there is a warning


class Contrastive(Objective):
    r"""Learning of an energy model from the states of Markov chains.

    .. math::
        \nabla \log p(x) = \nabla \phi(x) - \mathrm{E}_{p(\tilde x)} \nabla \phi(\tilde x)
        \approx \nabla \phi(x) - \frac1K \sum_k \nabla \phi(\tilde x^k)

    Subclasses say where chains start. `chain_mobility` in the report is the number of bits changed
    by the sweeps of a step, relative to the number in which two independent rows at the data's
    frequencies differ. If the chains hardly move, there is a `ChainWarning` at validation.

    Args:
        model: a model with an unnormalised density and conditional draws.
        guide: the guide "none".
        steps: sweeps per chain and step.
    """

    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}), density=frozenset({"unnormalised"}), chains=True
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})
    headline: ClassVar[str] = "potential_gap_nats_per_frame"

    def __init__(self, model: Model, guide: Guide, *, steps: int) -> None:
        super().__init__(model, guide)
        self.steps = steps
        self.mobility = Running(0.95, start=1.0)
        rates = means(model.info).clamp(LEAST_RATE, 1 - LEAST_RATE)
        self.bits_apart = float((2 * rates * (1 - rates)).sum())

    @abstractmethod
    def starts(self, batch: Batch) -> tuple[Tensor, Batch]:
        """States of chains before the sweeps of a step, (B, T, D), and their batch."""

    def keep(self, states: Tensor) -> None:
        """Store the states of the chains after a training step; by default they are dropped."""

    def loss(self, batch: Batch) -> Loss:
        """Mean potential of the chains minus that of the data, per sequence."""
        model, frames = self._energy(), batch.mask.sum()
        before, where = self.starts(batch)
        of_data = model.given(batch)
        of_chains = of_data if where is batch else model.given(where)
        after = self._moved(before, of_chains)
        own = of_data.potential(batch.x).masked_fill(~batch.mask, 0.0).sum() / frames
        counted = where.mask.to(own)
        drawn = (of_chains.potential(after) * counted).sum() / counted.sum()
        changed = ((after != before).sum(-1) * counted).sum() / counted.sum()
        moved = changed.detach() / self.bits_apart
        if self.training:
            self.mobility.update(moved)
            self.keep(after)
        report = {self.headline: (own - drawn).detach(), "chain_mobility": moved}
        sites = {"potential of the data": own.detach(), "potential of the chains": drawn.detach()}
        return Loss((drawn - own) * frames / batch.size, report, sites)

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The exact log-likelihood if the normaliser can be enumerated, else pseudo-likelihood."""
        mobility = float(self.mobility.value)
        if mobility < LEAST_MOBILITY:
            warnings.warn(
                f"the Markov chains hardly move: a step changes {mobility:.2%} of the bits in "
                "which independent rows differ, so they do not represent the model. "
                "Lower fit.lr, set fit.weight_decay, or increase objective.steps",
                ChainWarning,
                stacklevel=2,
            )
        return validate_energy(self._energy(), sequences, seed=seed)

    def _energy(self) -> EnergyModel:
        """The model.

        Raises:
            CompatibilityError: it declares an unnormalised density, but has no potential.
        """
        if isinstance(self.model, EnergyModel):
            return cast("EnergyModel", self.model)
        raise CompatibilityError(
            f"{type(self.model).__name__} has no potential; derive it from "
            "pyrodgm.models.EnergyModel"
        )

    @torch.no_grad()
    def _moved(self, x: Tensor, energies: Energies) -> Tensor:
        """States of chains after their sweeps."""
        for _ in range(self.steps):
            x = energies.gibbs(x)
        return x
