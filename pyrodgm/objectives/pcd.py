"""Persistent contrastive divergence, also called stochastic maximum likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.models.energy import EnergyModel
from pyrodgm.objectives.base import Needs
from pyrodgm.objectives.contrastive import Contrastive
from pyrodgm.objectives.moves import Betas, KernelName, Moves, Size
from pyrodgm.objectives.state import Chains
from pyrodgm.objectives.targets import Targets


@final
class PCD(Contrastive):
    r"""Persistent contrastive divergence: the gradient of log Z from chains that continue.

    .. math::
        \nabla \log p(x) = \nabla \phi(x) - \mathrm{E}_{p(\tilde x)} \nabla \phi(\tilde x)
        \approx \nabla \phi(x) - \frac1K \sum_k \nabla \phi(\tilde x^k)

    Each of K chains makes some moves in every step, and continues from its state in the next
    step. The gradient is that of the log-likelihood if the chains are in equilibrium; they are
    close to it if the learning rate is small relative to their speed, so it should fall over
    training (``fit.lr_schedule``).

    Args:
        model: a model with an unnormalised density, of independent frames.
        guide: the guide "none".
        particles: chains K per process.
        kernel: how chains move: exact conditional draws of the model ("gibbs"); of bits and
            symbols, one change at a time ("gibbs-with-gradients") or several
            ("discrete-langevin"); of real numbers "sgld", "sghmc", or "mala", which is exact at any
            step size. "auto" is what the model declares.
        steps: moves per chain and step; by default 1 for "gibbs" and "sghmc", whose path has ten
            steps, and otherwise 10.
        step_size: of moves that have one, in units of standardised features; 0.2 by default for
            "discrete-langevin" and 0.01 for real numbers.
        noise: standard deviation of the noise of "sgld" and "sghmc", in the same units; by default
            that which belongs to the step size.
        tempering: decreasing inverse temperatures, the first one 1, of copies of every chain that
            exchange their states; none by default. "auto" is then no "gibbs", which draws at the
            temperature of the model alone, but "gibbs-with-gradients" or "mala".
        start: initial states of the chains: rows of the training data, or "random": fair bits,
            uniform symbols, standard normal features.

    Raises:
        CompatibilityError: the kernel does not move such data, or cannot be tempered.
        UsageError: a size that the kernel does not have.

    Reference: Younes, Parametric inference for imperfectly observed Gibbsian fields, 1989;
    Tieleman, Training restricted Boltzmann machines using approximations to the likelihood
    gradient, 2008.
    """

    needs: ClassVar[Needs] = replace(Contrastive.needs, sequential=False)
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 0.001, "batch_size": 100})
    targets: ClassVar[tuple[Targets, ...]] = (Targets("ML", "none", "alg. 7, eq. 38-39"),)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 100,
        kernel: KernelName = "auto",
        steps: Annotated[int, Field(ge=1)] | None = None,
        step_size: Size | None = None,
        noise: Annotated[float, Field(ge=0)] | None = None,
        tempering: Betas | None = None,
        start: Literal["data", "random"] = "data",
    ) -> None:
        super().__init__(model, guide)
        sizes = {"steps": steps, "step_size": step_size, "noise": noise}
        self.moves = Moves.of(self.energy, kernel, **sizes, betas=tempering)
        self.particles = particles
        self.start = start
        self.chains = Chains()

    def begin(self, training: Sequences) -> None:
        """Initialise the chains at frames of the training data or at random."""
        like = next(self.model.parameters())
        copies = 1 if self.moves.betas is None else len(self.moves.betas)
        if self.start == "data":
            frames = torch.randint(training.num_frames, (copies * self.particles,))
            x = training.observations(frames).to(like)
        else:
            x = random_rows(self.energy, copies * self.particles).to(like)
        x = x[:, None] if copies == 1 else x.unflatten(0, (copies, -1))[:, :, None]
        self.chains["x"] = x

    def starts(self, batch: Batch) -> tuple[Tensor, Batch]:
        """The states of the chains, (K, 1, D), as rows of a batch; with copies (R, K, 1, D)."""
        del batch
        states = self.chains["x"]
        return states, Batch.of(self._first(states))

    def keep(self, states: Tensor, batch: Batch) -> None:
        """The chains continue from these states."""
        del batch
        self.chains["x"] = states


def random_rows(model: EnergyModel, num: int) -> Tensor:
    """Rows of fair bits, uniform symbols or standard normal features, (num, D)."""
    codes = model.codes
    if codes.symbols is not None:
        sizes = torch.tensor(codes.classes)
        places = (torch.rand(num, len(sizes)) * sizes).long()
        return codes.symbols.chosen(places)
    if model.info.kind == "real":
        return codes.decoded(torch.randn(num, codes.size).to(codes.centre)).cpu()
    return torch.randint(2, (num, model.info.dim))
