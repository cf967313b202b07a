"""Recognition networks of continuous latents over time, each vector given the one before it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.conditional import Normals
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.forward import forward_outputs
from pyrodgm.networks.inputs import Inputs

Size = Annotated[int, Field(ge=1)]


class NormalRecognition(StepGuide):
    r"""Normal latents of a frame, given features of the observations and the latents before.

    .. math::
        c_t &= \tanh(A z_{t-1} + B b_t + a_t) \\
        q(z_t \mid z_{t-1}, x) &= \mathcal N\big(M c_t + m, \;
            \mathrm{diag}\, \mathrm{softplus}(S c_t + s)^2\big)

    where the subclass computes the features :math:`b_t`, and the bias a of the first frame differs
    from that of the others. Latent sites have M and S of their own.

    Args:
        model: the model p; its sites are continuous.
        cell: "gru", "lstm", or "relu" started as the identity.
        layer_dim: units of every recurrence.
        hidden_dim: units of c.
        feedback: whether the latents before are used, A.
        directions: number of recurrences, one or two.
    """

    def __init__(
        self,
        model: Target,
        *,
        cell: CellName,
        layer_dim: int,
        hidden_dim: int,
        feedback: bool,
        directions: Literal[1, 2],
    ) -> None:
        super().__init__(model)
        self.history = 1
        self.inputs = Inputs(model.info)
        self.conditions = Conditions(model.info)
        size = self.inputs.dim + self.conditions.dim
        self.cell = make_cell(cell, size, layer_dim)
        self.second_cell = make_cell(cell, size, layer_dim) if directions == 2 else None
        self.from_features = nn.Linear(directions * layer_dim, hidden_dim, bias=False)
        self.bias = FirstSteps(hidden_dim, 1)
        before = sum(site.dim for site in self.latents.values())
        self.from_past = nn.Linear(before, hidden_dim, bias=False) if feedback else None
        self.families = {name: Normals(site.dim) for name, site in self.latents.items()}
        self.numbers = nn.ModuleDict()
        for name, family in self.families.items():
            layer = self.numbers[name] = nn.Linear(hidden_dim, family.size)
            with torch.no_grad():
                layer.weight.mul_(0.1)  # it starts near the standard normal distribution
                layer.bias.copy_(family.start())

    @abstractmethod
    def features(self, inputs: Tensor, batch: Batch) -> Tensor:
        """The features b of every frame, (B, T, F).

        Args:
            inputs: observations and conditions as inputs of networks, (B, T, E).
            batch: B sequences.
        """

    def encode(self, batch: Batch) -> Tensor:
        """What the observations contribute to c before its nonlinearity, (B, T, H)."""
        seen, given = self.inputs(batch.x), self.conditions(batch)
        inputs = seen if given is None else torch.cat([seen, given], -1)
        return self.from_features(self.features(inputs, batch)) + self.bias(batch.frames)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the latents of the frame before."""
        del t
        assert encoded is not None
        hidden = encoded
        if self.from_past is not None:
            first, *others = (past[name] for name in self.latents)
            before = torch.cat([first, *others], -1) if others else first
            hidden = encoded + self.from_past(before)
        hidden = hidden.tanh()
        for name, family in self.families.items():
            draw(name, family(self.numbers[name](hidden)))


@final
class RecurrentNormal(NormalRecognition):
    r"""A filtering posterior: the latents of a frame given the frames up to it.

    .. math::
        b_t &= f(b_{t-1}, x_t, u_t) \\
        q(z_t \mid z_{t-1}, x_{\le t}) &= \mathcal N(\mu(z_{t-1}, b_t),
            \mathrm{diag}\, \sigma^2(z_{t-1}, b_t))

    with :math:`\mu` and :math:`\sigma` as in `NormalRecognition`, and conditions u, if any.

    Args:
        model: the model p; its sites are continuous.
        layer_dim: units of the recurrence f.
        hidden_dim: units between the recurrence and the distribution.
        cell: "gru", "lstm", or "relu" started as the identity.
        feedback: whether it uses the latents of the frame before.

    Reference: Krishnan, Shalit and Sontag, Structured inference networks for nonlinear state space
    models, 2017, table 1, ST-L.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=True, reparameterised=True, causal=True
    )

    def __init__(
        self,
        model: Target,
        *,
        layer_dim: Size = 128,
        hidden_dim: Size = 128,
        cell: CellName = "gru",
        feedback: bool = True,
    ) -> None:
        super().__init__(
            model,
            cell=cell,
            layer_dim=layer_dim,
            hidden_dim=hidden_dim,
            feedback=feedback,
            directions=1,
        )

    def features(self, inputs: Tensor, batch: Batch) -> Tensor:
        """The outputs of the recurrence, (B, T, F)."""
        return forward_outputs("guide b", self.cell, inputs, batch)


@final
class SmoothingNormal(NormalRecognition):
    r"""A smoothing posterior: the latents of a frame given all frames.

    .. math::
        b_t &= f(b_{t+1}, x_t, u_t) \\
        q(z_t \mid z_{t-1}, x) &= \mathcal N(\mu(z_{t-1}, b_t),
            \mathrm{diag}\, \sigma^2(z_{t-1}, b_t))

    with :math:`\mu` and :math:`\sigma` as in `NormalRecognition`, and conditions u, if any. The
    exact posterior of a Markov chain of latents, such as a `DMM`, has this form of dependence. That
    of other models also depends on the frames before, and `past` adds a recurrence over them.

    Args:
        model: the model p; its sites are continuous.
        layer_dim: units of every recurrence.
        hidden_dim: units between the recurrences and the distribution.
        cell: "gru", "lstm", or "relu" started as the identity.
        feedback: whether it uses the latents of the frame before.
        past: whether a second recurrence runs forward over the frames.

    Reference: Krishnan, Shalit and Sontag, Structured inference networks for nonlinear state space
    models, 2017, equations 9 and 10: DKS, and with `past` ST-LR; without feedback MF-LR. There, the
    contributions to c are averaged, and the latents' own is squashed before.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=True, reparameterised=True, causal=False
    )

    def __init__(
        self,
        model: Target,
        *,
        layer_dim: Size = 128,
        hidden_dim: Size = 128,
        cell: CellName = "gru",
        feedback: bool = True,
        past: bool = False,
    ) -> None:
        super().__init__(
            model,
            cell=cell,
            layer_dim=layer_dim,
            hidden_dim=hidden_dim,
            feedback=feedback,
            directions=2 if past else 1,
        )

    def features(self, inputs: Tensor, batch: Batch) -> Tensor:
        """The outputs of the recurrences side by side, (B, T, F)."""
        future = backward_outputs(self.cell, inputs, batch)
        if self.second_cell is None:
            return future
        past = forward_outputs("guide b", self.second_cell, inputs, batch)
        return torch.cat([future, past], -1)
