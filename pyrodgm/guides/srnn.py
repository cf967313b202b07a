"""The guide of stochastic recurrent networks with separate layers."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.conditional import SMALL, normal_conditional

Size = Annotated[int, Field(ge=1)]


@final
class SRNNGuide(StepGuide):
    r"""The smoothing posterior of an SRNN, which shares its deterministic recurrence.

    .. math::
        a_t &= g(a_{t+1}, d_t, \varphi(x_t)) \\
        q(z_t \mid z_{t-1}, x) &= \mathcal N\big(\mu_p(z_{t-1}, d_t) + \mu(z_{t-1}, a_t), \;
            \mathrm{diag}\, \sigma^2(z_{t-1}, a_t)\big)

    with the recurrence d, the features :math:`\varphi` and the mean :math:`\mu_p` of the prior of
    the model. The recurrence runs once for both.

    Args:
        model: the model p, an `SRNN` or one with its `deterministic`, `prior`, `inputs`,
            `features_x`, `feature_dim` and `cell`.
        layer_dim: units of the backward recurrence g.
        hidden_dim: units of the hidden layer; the model's `feature_dim` if not given.
        cell: of g, "gru", "lstm", or "relu" started as the identity.
        residual: whether the mean starts from that of the prior, :math:`\mu_p`.

    Raises:
        CompatibilityError: the model has no such recurrence.

    Reference: Fraccaro, Sønderby, Paquet and Winther, Sequential neural models with stochastic
    layers, 2016, equations 8 to 12.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous",
        sequential=True,
        reparameterised=True,
        causal=False,
        recurrence="srnn",
    )
    states = ("d",)

    def __init__(
        self,
        model: Target,
        *,
        layer_dim: Size = 128,
        hidden_dim: Size | None = None,
        cell: CellName = "gru",
        residual: bool = True,
    ) -> None:
        super().__init__(model)
        lacking = [name for name in SHARED if not hasattr(model, name)]
        if lacking:
            raise CompatibilityError(
                f"the guide 'srnn' shares the recurrence of its model, but {type(model).__name__} "
                f"has no {', '.join(lacking)}; use the model 'srnn', or the guide "
                "'smoothing-gaussian'"
            )
        self.history = 1
        owner, (site,) = self.model, self.latents.values()
        self.state_dim = owner.cell.state_dim
        width = owner.feature_dim if hidden_dim is None else hidden_dim
        self.backward_cell = make_cell(cell, owner.cell.dim + owner.feature_dim, layer_dim)
        self.posterior = normal_conditional(site.dim, site.dim, width, gain=SMALL)
        self.hidden_from_a = nn.Linear(layer_dim, width, bias=False)
        self.residual = residual

    def encode(self, batch: Batch) -> Tensor:
        """The states of the model's recurrence, and contributions of a, (B, T, S + H)."""
        model = self.model
        now = model.features_x(model.inputs(batch.x))
        states = model.deterministic(batch, now)
        inputs = torch.cat([states[..., : model.cell.dim], now], -1)
        a = backward_outputs(self.backward_cell, inputs, batch)
        return torch.cat([states, self.hidden_from_a(a)], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the latents of the frame before and all observations."""
        del t
        assert encoded is not None
        state, contribution = encoded.tensor_split((self.state_dim,), -1)
        past.states["d"] = state
        before, d = past["z"], state[..., : self.model.cell.dim]
        q = self.posterior.of_hidden(self.posterior.first(before) + contribution)
        if self.residual:
            of_prior, _ = self.model.prior.numbers(join(before, d)).chunk(2, -1)
            q = NormalVector(of_prior + q.loc, q.scale)
        draw("z", q)


SHARED = ("deterministic", "prior", "inputs", "features_x", "feature_dim", "cell")
