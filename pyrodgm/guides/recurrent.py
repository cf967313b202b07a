"""Recognition networks that run forward in time, each draw conditioned on the draws before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.cells import ReLUCell
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.forward import forward_outputs
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes, SigmoidLayer, SigmoidLayers, plus, weights
from pyrodgm.networks.mlp import connection

Order = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(gt=0)]


class SigmoidRecognition(StepGuide):
    r"""Layers of binary draws, from the observation upward.

    With :math:`z^0 = x` and n lags of everything,

    .. math:: q(z^l_t = 1 \mid \cdot) =
        \sigma(U^l_1 z^l_{t-n:t-1} + U^l_2 z^{l-1}_t + U^l_3 z^{l-1}_{t-n:t-1} + V^l u_t + d^l)

    where u are conditions, if any.

    Args:
        model: the model p, whose latent sites are the layers, the lowest first.
        history: order n; 0 for rows without time, None for the model's.
        feedback: whether lags of lower layers are used, U_3.
        init_scale: standard deviation of the initial weights.
        features_dim: size of the inputs of the lowest layer; that of a frame if not given.
        layer_dim: rectified units of networks in the place of the linear maps U_2; None for linear
            maps.
    """

    chained = True

    def __init__(
        self,
        model: Target,
        *,
        history: int | None,
        feedback: bool,
        init_scale: float,
        features_dim: int | None = None,
        layer_dim: LayerSizes | None = None,
    ) -> None:
        super().__init__(model)
        self.history = history = model.history if history is None else history
        self.inputs = Inputs(model.info)
        self.conditions = Conditions(model.info)
        dims = [features_dim or self.inputs.dim, *sizes(self.latents).values()]
        lags = history if feedback else 0
        shared = {
            "history": history,
            "scale": init_scale,
            "given_dim": self.conditions.dim,
            "connect": connection(layer_dim),
        }
        self.layers = SigmoidLayers(
            SigmoidLayer(own, history * own, lags * below, below, **shared)
            for below, own in pairwise(dims)
        )

    def features(self, batch: Batch) -> Tensor:
        """Inputs of the lowest layer, (B, T, F)."""
        return self.inputs(batch.x)

    def encode(self, batch: Batch) -> Tensor:
        """Contribution of observations and conditions to the logits of the lowest layer, and the
        conditions themselves, (B, T, J + U).
        """
        layer, y = next(iter(self.layers)), self.features(batch)
        given = self.conditions(batch)
        total = plus(plus(layer.bias(batch.frames), layer.given, given), layer.now, y)
        name = "x" if y is batch.x else "features"  # lags of x itself are shared with the model
        total = plus(total, layer.past, batch.lagged(name, y, self.history))
        return total if given is None else torch.cat([total, given], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: logits from the observations and from the draws before it."""
        assert encoded is not None
        lowest = encoded.shape[-1] - self.conditions.dim
        drive, given = encoded[..., :lowest], encoded[..., lowest:]
        below, z = None, None
        for name, layer in zip(self.latents, self.layers, strict=True):
            if below is not None:
                drive = layer.drive(past[below], z, layer.biases(t, given))
            z = past.chain(draw, name, drive, layer)
            below = name


@final
class RecurrentBernoulli(SigmoidRecognition):
    r"""The recognition model of the temporal sigmoid belief network, of the same form.

    .. math:: q(z^l_t = 1 \mid \cdot) =
        \sigma(U^l_1 z^l_{t-n:t-1} + U^l_2 z^{l-1}_t + U^l_3 z^{l-1}_{t-n:t-1} + d^l),
        \qquad z^0 = x

    Args:
        model: the model p; its binary sites, the lowest first, are the layers.
        history: order n; the model's if not given.
        feedback: whether it uses earlier observations and earlier draws of lower layers, U_3.
        init_scale: standard deviation of the initial weights.

    Reference: Gan et al., Deep temporal sigmoid belief networks for sequence modeling, 2015,
    equation 16 of the slides. The first n frames have their own bias d.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="binary", sequential=True, causal=True)

    def __init__(
        self,
        model: Target,
        *,
        history: Order | None = None,
        feedback: bool = True,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            model,
            history=history,
            feedback=feedback,
            init_scale=init_scale,
        )


@final
class LayeredBernoulli(SigmoidRecognition):
    r"""The recognition model of a sigmoid belief network of independent rows.

    .. math:: q(z^l = 1 \mid z^{l-1}) = \sigma(U^l z^{l-1} + d^l), \qquad z^0 = x

    Args:
        model: the model p; its binary sites, the lowest first, are the layers.
        init_scale: standard deviation of the initial weights; with `layer_dim`, of those into
            latents.
        layer_dim: rectified units between each layer and the one below, whose values they read; or
            those of several such layers, the lowest first; linear maps if not given.

    Reference: Mnih and Gregor, Neural variational inference and learning in belief networks, 2014.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="binary", sequential=False, causal=True)

    def __init__(
        self, model: Target, *, init_scale: Scale = 0.01, layer_dim: LayerSizes | None = None
    ) -> None:
        super().__init__(
            model, history=0, feedback=False, init_scale=init_scale, layer_dim=layer_dim
        )


@final
class RecurrentDeterministic(SigmoidRecognition):
    r"""A deterministic recurrent layer below binary draws.

    .. math::
        g_t &= \max(0, U_2 x_t + U_3 x_{t-n:t-1} + U_6 g_{t-n:t-1} + V_1 u_t + a) \\
        q(z_t = 1 \mid z_{<t}, x_{\le t}) &= \sigma(U_1 z_{t-n:t-1} + U_4 g_t
            + U_5 g_{t-n:t-1} + V_2 u_t + d)

    where u are conditions, if any.

    Args:
        model: the model p; its binary sites, the lowest first, are the layers. Higher layers are as
            in `RecurrentBernoulli`.
        layer_dim: deterministic rectified units, G.
        history: order n; the model's if not given.
        init_scale: standard deviation of the initial weights, except those into the rectified
            units, which are initialised as in `torch.nn.Linear`.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, section 3.3, with the
    connections of the published code. The first n frames have their own bias d.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="binary", sequential=True, causal=True)

    def __init__(
        self,
        model: Target,
        *,
        layer_dim: Annotated[int, Field(ge=1)] = 100,
        history: Order | None = None,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            model,
            history=history,
            feedback=True,
            init_scale=init_scale,
            features_dim=layer_dim,
        )
        self.drive = nn.Linear((self.history + 1) * self.inputs.dim, layer_dim)
        self.cell = ReLUCell(layer_dim, self.history, init_scale)
        self.drive_given = weights(self.conditions.dim, layer_dim, init_scale)

    def features(self, batch: Batch) -> Tensor:
        """The rectified units, (B, T, G)."""
        x = self.inputs(batch.x)
        past = batch.lagged("x" if x is batch.x else "inputs", x, self.history)
        drive = self.drive(torch.cat([x, past], -1))
        drive = plus(drive, self.drive_given, self.conditions(batch))
        return forward_outputs("guide g", self.cell, drive, batch)
