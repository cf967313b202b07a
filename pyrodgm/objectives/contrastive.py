"""The gradient of an energy model: its potential at the data against that at Markov chains."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, cast

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.energy import validate_energy
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.chain_health import ChainHealth
from pyrodgm.objectives.moves import Moves


class Contrastive(Objective):
    r"""Learning of an energy model from the states of Markov chains.

    .. math::
        \nabla \log p(x) = \nabla \phi(x) - \mathrm{E}_{p(\tilde x)} \nabla \phi(\tilde x)
        \approx \nabla \phi(x) - \frac1K \sum_k \nabla \phi(\tilde x^k)

    Subclasses say where chains start, and set `moves`, by which they move. How well they move is
    reported, and there is a `ChainWarning` at validation where they do not; see `ChainHealth`.

    Args:
        model: a model with an unnormalised density.
        guide: the guide "none".
    """

    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}), density=frozenset({"unnormalised"}), chains=True
    )
    headline: ClassVar[str] = "potential_gap_nats_per_frame"
    moves: Moves

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__(model, guide)
        self.health = ChainHealth(self.energy)

    @abstractmethod
    def starts(self, batch: Batch) -> tuple[Tensor, Batch]:
        """States of chains before the moves of a step, (..., B, T, D), and their batch."""

    def keep(self, states: Tensor, batch: Batch) -> None:
        """Store the states of the chains after a training step; by default they are dropped."""

    def loss(self, batch: Batch) -> Loss:
        """Mean potential of the chains minus that of the data, per sequence."""
        model, frames = self.energy, batch.mask.sum()
        before, where = self.starts(batch)
        of_data = model.given(batch)
        of_chains = of_data if where is batch else model.given(where)
        after, accepted = self.moves(model, of_chains, before)
        after = self.health.finite(before, after)
        at_data = of_data.potential(batch.x).masked_fill(~batch.mask, 0.0)
        at_chains = of_chains.potential(self._first(after))
        counted = where.mask.to(at_chains)
        own, drawn = at_data.sum() / frames, (at_chains * counted).sum() / counted.sum()
        if self.training:
            if self.health.due():
                states = self._first(before), self._first(after)
                with torch.no_grad():
                    earlier = at_data if before is batch.x else of_chains.potential(states[0])
                potentials = earlier.detach(), at_chains.detach()
                self.health.update(states, potentials, where.mask, accepted)
            self.keep(after, batch)
        report = {self.headline: (own - drawn).detach()}
        report |= self.health.report(counted.sum(), rejects=self.moves.rejects)
        sites = {"potential of the data": own.detach(), "potential of the chains": drawn.detach()}
        return Loss((drawn - own) * frames / batch.size, report, sites)

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """The exact log-likelihood if log Z can be enumerated; else as `validate_energy`."""
        self.health.warn(self.moves)
        return validate_energy(self.energy, sequences, seed=seed)

    @property
    def energy(self) -> EnergyModel:
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

    def _first(self, states: Tensor) -> Tensor:
        """The copy of every chain that has the distribution of the model."""
        return states if self.moves.betas is None else states[0]
