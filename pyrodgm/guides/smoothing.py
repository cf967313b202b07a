"""Recognition networks of binary latents that see the whole sequence."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.sites import sizes
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.recurrent import Order, Scale, SigmoidRecognition
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import GRUCell


@final
class SmoothingBernoulli(SigmoidRecognition):
    r"""The recognition model of the temporal sigmoid belief network, with the future added.

    .. math::
        b_t &= \mathrm{GRU}(x_t, u_t, b_{t+1}), \qquad b_{T+1} = 0 \\
        q(z^1_t = 1 \mid z^1_{<t}, x) &= \sigma(U_1 z^1_{t-n:t-1} + U_2 x_t + U_3 x_{t-n:t-1}
            + B b_t + V u_t + d)

    and higher layers as in `RecurrentBernoulli`. The exact posterior of a TSBN has this form of
    dependence, :math:`p(z_t \mid z_{t-n:t-1}, x)`. Draws of a frame change if later frames do, so
    one-step prediction runs again on every prefix.

    Args:
        model: the model p; its binary sites, the lowest first, are the layers.
        layer_dim: units of the recurrence that runs backward in time.
        history: order n; the model's if not given.
        feedback: whether it uses earlier observations and earlier draws of lower layers.
        init_scale: standard deviation of the initial weights, except those of the recurrence.

    Reference: the backward recurrence of the structured inference networks of Krishnan, Shalit and
    Sontag, 2017, section 4, on the guide of Gan et al., 2015.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="binary", sequential=True, causal=False)

    def __init__(
        self,
        model: Target,
        *,
        layer_dim: Annotated[int, Field(ge=1)] = 100,
        history: Order | None = None,
        feedback: bool = True,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(model, history=history, feedback=feedback, init_scale=init_scale)
        self.backward_cell = GRUCell(self.inputs.dim + self.conditions.dim, layer_dim)
        self.from_future = nn.Linear(
            layer_dim, next(iter(sizes(self.latents).values())), bias=False
        )
        nn.init.normal_(self.from_future.weight, std=init_scale)

    def encode(self, batch: Batch) -> Tensor:
        """As in `SigmoidRecognition`, with the contribution of this frame and of later ones."""
        seen, given = self.inputs(batch.x), self.conditions(batch)
        inputs = seen if given is None else torch.cat([seen, given], -1)
        backward = self.from_future(backward_outputs(self.backward_cell, inputs, batch))
        return super().encode(batch) + F.pad(backward, (0, self.conditions.dim))
