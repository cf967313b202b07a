"""Neural variational inference and learning: the score gradient with learned baselines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Unpack, cast, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.engine.terms import Terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.networks.mlp import tanh_network
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.objectives.single import (
    Execution,
    SinglePhase,
    as_networks_see,
    sequence_mean,
    size_networks_see,
)
from pyrodgm.objectives.state import Running
from pyrodgm.objectives.targets import Targets


@final
class NVIL(SinglePhase):
    r"""The evidence lower bound by score gradients with input-dependent baseline and normalisation.

    With the cost of a frame :math:`l_t = \log p(x_t, z_t \mid \cdot) - \log q(z_t \mid \cdot)`, a
    network :math:`C(x_t)` that predicts it and a running mean :math:`m` of the residual,

    .. math::
        \delta_t &= l_t - C(x_t) - m \\
        \nabla_\phi L &\approx \sum_t \frac{s_t}{\max(1, \sqrt v)} \nabla_\phi \log q(z_t \mid
        \cdot), \qquad s_t = \sum_{u \ge t} \gamma^{u-t} \delta_u

    where v is a running variance of s. Signal "future", :math:`\gamma = 1`, is unbiased up to the
    positive factor; "local", :math:`\gamma = 0`, ignores the effect of a draw on later frames, as
    the published TSBN does: biased, with much less variance on long sequences.

    Args:
        model: the model p.
        guide: the guide q.
        signal: "future", "local", or the discount :math:`\gamma` itself.
        baseline_dim: hidden tanh units of the baseline network; 0 for no network.
        decay: weight of the old value in the running mean and variance.
        normalise: whether to divide by the running standard deviation.
        particles: number of draws K.
        execution: "fused" or "unrolled".

    Reference: Mnih and Gregor, Neural variational inference and learning in belief networks, 2014;
    Gan et al., Deep temporal sigmoid belief networks, 2015, algorithm 1. Running values are
    scalars, updated after use. The baseline is fitted to the frame's own cost, so that neither
    depends on the number of remaining frames.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 10-11, section 3.2.1"),)
    needs: ClassVar[Needs] = Needs()
    unbiased: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"signal": "future", "normalise": False}
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        signal: Signal = "local",
        baseline_dim: Annotated[int, Field(ge=0)] = 100,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.8,
        normalise: bool = True,
        particles: Annotated[int, Field(ge=1)] = 1,
        execution: Execution = "fused",
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution, **kl)
        self.discount = discount_of(signal)
        self.by_frame = self.discount == 0
        self.normalise = normalise
        dim = None if model.observed is None else size_networks_see(model)
        self.baseline = tanh_network(dim, baseline_dim) if baseline_dim else None
        self.mean = Running(decay)
        self.variance = Running(decay, start=1.0)

    def estimate(self, terms: Terms) -> Loss:
        """Minus (bound + score term) per sequence, plus the squared error of the baseline."""
        cost = terms.cost.detach()
        frames = terms.mask.to(cost.dtype)
        predicted = self._predict(terms, frames)
        left = (cost - predicted.detach() - self.mean.value) * frames
        signal = reward_to_go(left, self.discount)
        scale = self.variance.value.sqrt().clamp(min=1) if self.normalise else 1.0
        surrogate = terms.direct + signal / scale * terms.log_score
        fit = (cost - self.mean.value - predicted).square() * frames
        if self.training:
            self._update(cost - predicted.detach(), signal, frames)
        loss = sequence_mean(fit) - sequence_mean(surrogate)
        return Loss(loss, terms.report(), terms.by_name())

    def _predict(self, terms: Terms, frames: Tensor) -> Tensor:
        """The baseline network's prediction of every frame's cost, (B, T)."""
        if self.baseline is None:
            return frames.new_zeros(())
        x = frames[..., None] if terms.x is None else as_networks_see(self.model, terms.x)
        first = cast("nn.Linear", self.baseline[0])
        if x.shape[-1] != first.in_features and not isinstance(first, nn.LazyLinear):
            raise CompatibilityError(
                f"the baseline network takes {first.in_features} observed features per frame, but "
                f"got {x.shape[-1]}; use baseline_dim=0 for no network"
            )
        return self.baseline(x).squeeze(-1) * frames

    def _update(self, residual: Tensor, signal: Tensor, frames: Tensor) -> None:
        frames = frames.expand_as(signal)
        count = frames.sum().clamp(min=1)
        self.mean.update((residual * frames).sum() / count)
        centre = (signal * frames).sum() / count
        self.variance.update(((signal - centre).square() * frames).sum() / count)
