"""Persistent contrastive divergence, also called stochastic maximum likelihood."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Needs
from pyrodgm.objectives.contrastive import Contrastive
from pyrodgm.objectives.state import Chains
from pyrodgm.objectives.targets import Targets


@final
class PCD(Contrastive):
    r"""Persistent contrastive divergence: the gradient of log Z from chains that continue.

    .. math::
        \nabla \log p(x) = \nabla \phi(x) - \mathrm{E}_{p(\tilde x)} \nabla \phi(\tilde x)
        \approx \nabla \phi(x) - \frac1K \sum_k \nabla \phi(\tilde x^k)

    Each of K chains makes some Gibbs sweeps in every step, and continues from its state in the next
    step. The gradient is that of the log-likelihood if the chains are in equilibrium; they are
    close to it if the learning rate is small relative to their speed, so it should fall over
    training (``fit.lr_schedule``).

    Args:
        model: a model with an unnormalised density and conditional draws, of independent frames.
        guide: the guide "none".
        particles: chains K per process.
        steps: sweeps per chain and step.
        start: initial states of the chains: rows of the training data, or random bits.

    Reference: Younes, Parametric inference for imperfectly observed Gibbsian fields, 1989;
    Tieleman, Training restricted Boltzmann machines using approximations to the likelihood
    gradient, 2008.
    """

    needs: ClassVar[Needs] = replace(Contrastive.needs, sequential=False)
    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "none", "alg. 7, eq. 38-39"),)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 100,
        steps: Annotated[int, Field(ge=1)] = 1,
        start: Literal["data", "random"] = "data",
    ) -> None:
        super().__init__(model, guide, steps=steps)
        self.particles = particles
        self.start = start
        self.chains = Chains()

    def begin(self, training: Sequences) -> None:
        """Initialise the chains at frames of the training data or at random bits."""
        like = next(self.model.parameters())
        if self.start == "data":
            frames = torch.randint(training.num_frames, (self.particles,))
            x = training.centred(training.x[frames]).to(like)
        else:
            x = torch.randint(2, (self.particles, training.x.shape[1])).to(like)
        self.chains["x"] = x[:, None]

    def starts(self, batch: Batch) -> tuple[Tensor, Batch]:
        """The states of the chains, (K, 1, D), as rows of a batch."""
        del batch
        states = self.chains["x"]
        return states, Batch.of(states)

    def keep(self, states: Tensor) -> None:
        """The chains continue from these states."""
        self.chains["x"] = states
