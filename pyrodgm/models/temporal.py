"""Temporal restricted Boltzmann machines: a machine per frame, with biases set by the past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.frame_energy import FrameEnergyModel
from pyrodgm.models.machine import Machine, bits
from pyrodgm.models.rbm import log_odds_of_bits

MOST_BITS = 10  # of the smaller layer, whose states are enumerated for every frame

Size = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(ge=0)]


class TemporalRBM(FrameEnergyModel):
    r"""What the temporal machines share: the parameters, and a frame given the state before it.

    .. math::
        p(v_t, h_t \mid s_{t-1}) \propto \exp\big(h_t^\top W v_t
            + (b + V s_{t-1})^\top v_t + (c + U s_{t-1})^\top h_t\big)

    The state before the first frame is a parameter. Subclasses say how states follow from
    :math:`a_t = W v_t + c + U s_{t-1}`, the log-odds of the hidden units of frame t.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H of every frame.
        visible_drive: whether the state sets the biases of the visible units too (V).
        init_scale: standard deviation of the initial weights.
    """

    traits: ModelTraits = ModelTraits(
        latents="none", sequential=True, density="unnormalised", by_frame=True
    )
    companions: ClassVar[Companions] = Companions("none", "cd", "jsb")
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "lr": 0.005,
            "lr_schedule": "linear",
            "weight_decay": 0.1,
            "batch_size": 32,
            "evaluate_every": 1000,
        }
    )
    gibbs_steps = 5
    base: Tensor

    def __init__(
        self, info: DataInfo, *, hidden_dim: int, visible_drive: bool, init_scale: float
    ) -> None:
        super().__init__(info)
        log_odds = log_odds_of_bits(info, type(self).__name__)
        self.weight = nn.Parameter(init_scale * torch.randn(hidden_dim, info.dim))
        self.hidden_drive = nn.Parameter(init_scale * torch.randn(hidden_dim, hidden_dim))
        self.visible_drive = (
            nn.Parameter(init_scale * torch.randn(info.dim, hidden_dim)) if visible_drive else None
        )
        self.visible = nn.Parameter(log_odds.clone())
        self.hidden = nn.Parameter(torch.zeros(hidden_dim))
        self.start = nn.Parameter(torch.zeros(hidden_dim))
        self.register_buffer("base", log_odds)

    @abstractmethod
    def state(self, log_odds: Tensor) -> Tensor:
        """The state after a frame, (..., H), by the log-odds of its hidden units."""

    def states(self, batch: Batch, num: int = 1) -> Tensor:
        """The state before every frame and after the last, (num, B, T + 1, H)."""
        drive = F.linear(batch.x, self.weight, self.hidden)
        carried = self.carried(batch)
        states = [(self.start if carried is None else carried).expand(num, batch.size, -1)]
        for now in drive.unbind(1):
            states.append(self.state(now + F.linear(states[-1], self.hidden_drive)))
        return torch.stack(states, 2)

    def advance(self, states: Tensor, x: Tensor) -> Tensor:
        """The states after frames x (..., D) from those before, (..., H)."""
        return self.state(self.frames(states).hidden_log_odds(x))

    def frames(self, states: Tensor) -> Machine:
        """The machines of frames given the states before them, (..., H)."""
        hidden = F.linear(states, self.hidden_drive, self.hidden)
        drive = self.visible_drive
        visible = self.visible.expand(*states.shape[:-1], -1)
        if drive is not None:
            visible = F.linear(states, drive, self.visible)
        return Machine(self.weight, visible, hidden, self.base.expand_as(visible))

    @property
    def enumerable(self) -> bool:
        """Whether the smaller layer has at most 10 units."""
        return min(self.weight.shape) <= MOST_BITS


@final
class RTRBM(TemporalRBM):
    r"""A recurrent temporal restricted Boltzmann machine: its state is deterministic.

    .. math::
        p(v_t, h_t \mid r_{t-1}) \propto \exp\big(h_t^\top W v_t
            + (b + V r_{t-1})^\top v_t + (c + U r_{t-1})^\top h_t\big), \qquad
        r_t = \sigma(W v_t + c + U r_{t-1})

    so that :math:`r_t = \mathrm{E}[h_t \mid v_t, r_{t-1}]`, and
    :math:`\log p(v) = \sum_t \phi(v_t; r_{t-1}) - \log Z(r_{t-1})`. Gradients go back through time.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H of every frame.
        visible_drive: whether the state sets the biases of the visible units too (V).
        init_scale: standard deviation of the initial weights.

    Shapes: ``x`` (B, T, D), bits.

    Raises:
        DataError: the data is not binary, or has missing values.

    Reference: Sutskever, Hinton and Taylor, The recurrent temporal restricted Boltzmann machine,
    2008; with V as in Boulanger-Lewandowski, Bengio and Vincent, Modeling temporal dependencies in
    high-dimensional sequences, 2012.
    """

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Size = 150,
        visible_drive: bool = True,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            info, hidden_dim=hidden_dim, visible_drive=visible_drive, init_scale=init_scale
        )

    def state(self, log_odds: Tensor) -> Tensor:
        """The probabilities of the hidden units."""
        return log_odds.sigmoid()


@final
class TRBM(TemporalRBM):
    r"""A temporal restricted Boltzmann machine: the state of a frame is its hidden units.

    .. math::
        p(v, h) = \prod_t p(v_t, h_t \mid h_{t-1}), \qquad
        p(v_t, h_t \mid h_{t-1}) \propto \exp\big(h_t^\top W v_t
            + (b + V h_{t-1})^\top v_t + (c + U h_{t-1})^\top h_t\big)

    without V by default. The posterior of h is intractable. As in the literature, its place is
    taken by a filter that ignores later frames, drawn forward in time:

    .. math::
        q(h \mid v) = \prod_t p(h_t \mid v_t, h_{t-1})
            = \prod_t \mathrm{Bernoulli}\big(\sigma(W v_t + c + U h_{t-1})\big)

    Then :math:`\log p(v, h) / q(h \mid v) = \sum_t \phi(v_t; h_{t-1}) - \log Z(h_{t-1})`. Its mean
    is a lower bound on :math:`\log p(v)`. Learning follows its gradient for given h; the filter is
    not differentiated.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H of every frame.
        visible_drive: whether the state sets the biases of the visible units too (V).
        init_scale: standard deviation of the initial weights.

    Shapes: ``x`` (B, T, D), bits.

    Raises:
        DataError: the data is not binary, or has missing values.

    Reference: Sutskever and Hinton, Learning multilevel distributed representations for
    high-dimensional sequences, 2007; Gan, slides of 2015, equation 8.
    """

    filtered = True

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Size = 150,
        visible_drive: bool = False,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            info, hidden_dim=hidden_dim, visible_drive=visible_drive, init_scale=init_scale
        )

    def state(self, log_odds: Tensor) -> Tensor:
        """Hidden units, drawn."""
        return bits(log_odds.detach())
