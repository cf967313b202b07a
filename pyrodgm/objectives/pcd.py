"""Contrastive divergence, with persistent chains or with chains that start at the data."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, cast, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import ChainWarning, CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.energy import validate_energy
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.state import Chains, Running
from pyrodgm.objectives.targets import Targets

CHAINS = 100  # default number of chains
LEAST_MOBILITY = 0.01  # mobility below which there is a warning


@final
class PCD(Objective):
    r"""Persistent contrastive divergence: the gradient of log Z from Markov chains.

    .. math::
        \nabla \log p(x) = \nabla \phi(x) - \mathrm{E}_{p(\tilde x)} \nabla \phi(\tilde x)
        \approx \nabla \phi(x) - \frac1K \sum_k \nabla \phi(\tilde x^k)

    Each of K chains makes some Gibbs sweeps in every step, and continues from its state in the next
    step. The gradient is that of the log-likelihood if the chains are in equilibrium; they are
    close to it if the learning rate is small relative to their speed.

    `chain_mobility` in the report measures the speed: the number of bits changed per step, relative
    to the number in which two independent rows at the data's frequencies differ. If the chains
    hardly move, there is a `ChainWarning` at validation.

    The validation score is the exact log-likelihood if the normaliser can be enumerated, and the
    pseudo-likelihood otherwise.

    Args:
        model: a model with an unnormalised density and conditional draws, of independent frames.
        guide: the guide "none".
        particles: chains K per process; 100 by default. Without `persistent`, every frame of the
            batch has one.
        steps: sweeps per chain and step.
        persistent: whether chains continue from their last state; otherwise each starts at a frame
            of the batch, which is plain contrastive divergence and biased.
        start: initial states of persistent chains: rows of the training data, or random bits.

    Raises:
        UsageError: particles or a start are given without persistent chains.

    Reference: Hinton, Training products of experts by minimizing contrastive divergence, 2002;
    Tieleman, Training restricted Boltzmann machines using approximations to the likelihood
    gradient, 2008.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "none", "alg. 7, eq. 38-39"),)
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"none"}), density=frozenset({"unnormalised"}), sequential=False
    )
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})
    headline: ClassVar[str] = "potential_gap_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] | None = None,
        steps: Annotated[int, Field(ge=1)] = 1,
        persistent: bool = True,
        start: Literal["data", "random"] | None = None,
    ) -> None:
        super().__init__(model, guide)
        if not persistent and (particles, start) != (None, None):
            raise UsageError(
                "without persistent chains, one chain starts at every frame of the batch; "
                "give no particles and no start, or persistent=True"
            )
        self.steps = steps
        self.particles = CHAINS if particles is None else particles
        self.starts_at_data = start != "random"
        self.chains = Chains() if persistent else None
        self.mobility = Running(0.95, start=1.0)
        rates = means(model.info).clamp(LEAST_RATE, 1 - LEAST_RATE)
        self.bits_apart = float((2 * rates * (1 - rates)).sum())

    def begin(self, training: Sequences) -> None:
        """Initialise the chains at frames of the training data or at random bits."""
        if self.chains is None:
            return
        like = next(self.model.parameters())
        if self.starts_at_data:
            frames = torch.randint(training.num_frames, (self.particles,))
            x = training.centred(training.x[frames]).to(like)
        else:
            x = torch.randint(2, (self.particles, training.x.shape[1])).to(like)
        self.chains["x"] = x[:, None]

    def loss(self, batch: Batch) -> Loss:
        """Mean potential of the chains minus that of the data, per sequence."""
        model, frames = self._energy(), batch.mask.sum()
        before, where = (batch.x, batch) if self.chains is None else self._persistent()
        after = self._moved(before, where)
        own = model.potential(batch.x, batch).masked_fill(~batch.mask, 0.0).sum() / frames
        counted = where.mask.to(own)
        drawn = (model.potential(after, where) * counted).sum() / counted.sum()
        changed = ((after != before).sum(-1) * counted).sum() / counted.sum()
        moved = changed.detach() / self.bits_apart
        if self.training:
            self.mobility.update(moved)
            if self.chains is not None:
                self.chains["x"] = after
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

    def _persistent(self) -> tuple[Tensor, Batch]:
        """The states of the chains, (K, 1, D), as rows of a batch."""
        assert self.chains is not None
        states = self.chains["x"]
        return states, Batch.of(states)

    @torch.no_grad()
    def _moved(self, x: Tensor, batch: Batch) -> Tensor:
        """States of chains after their sweeps."""
        for _ in range(self.steps):
            x = self._energy().gibbs(x, batch)
        return x
