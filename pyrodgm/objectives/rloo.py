"""Score gradients with the mean of the other draws as baseline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Unpack, cast, final

from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.local import frame_terms
from pyrodgm.engine.terms import Terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.objectives.single import Execution, SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class RLOO(SinglePhase):
    r"""The evidence lower bound by score gradients, with the K - 1 other draws as baseline.

    With the cost of a frame :math:`l_t = \log p(x_t, z_t \mid \cdot) - \log q(z_t \mid \cdot)`,

    .. math::
        s^k_t = \sum_{u \ge t} \gamma^{u-t} \, l^k_u, \qquad
        \nabla_\phi L \approx \frac1K \sum_k \sum_t
        \Big(s^k_t - \frac{1}{K-1} \sum_{j \ne k} s^j_t\Big) \nabla_\phi \log q(z^k_t \mid \cdot)

    No baseline has to be learned, and the other draws are for the same sequence. Unbiased for
    signal "future"; a discount below one trades bias for variance.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        signal: "future" (discount 1), "local" (discount 0), or the discount :math:`\gamma` itself.
        execution: "fused" or "unrolled".

    Raises:
        ConfigError: fewer than two draws.

    Reference: Kool, van Hoof and Welling, Buy 4 REINFORCE samples, get a baseline for free!, 2019;
    Mnih and Rezende, Variational inference for Monte Carlo objectives, 2016, section 2.4, for the
    one-sample bound. The discount is ours.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB", "eq. 10-11; Kool et al. 2019"),
    )
    needs: ClassVar[Needs] = Needs()
    unbiased: ClassVar[Mapping[str, Any]] = MappingProxyType({"signal": "future"})

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 4,
        signal: Signal = 0.5,
        execution: Execution = "fused",
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution, **kl)
        self.discount = discount_of(signal)
        self.by_frame = self.discount == 0

    def estimate(self, terms: Terms) -> Loss:
        """Minus (bound + score term) per sequence."""
        signal = against_the_others(reward_to_go(terms.cost.detach(), self.discount))
        surrogate = sequence_mean(terms.direct + signal * terms.log_score)
        return Loss(-surrogate, terms.report(), terms.by_name())


@final
class LocalRLOO(SinglePhase):
    r"""The local signal, with K draws of every frame given one path.

    .. math::
        \tilde z \sim q(z \mid x), \quad z^k_t \sim q(z_t \mid \tilde z_{<t}, x), \qquad
        \nabla_\phi L \approx \frac1K \sum_k \sum_t
        \Big(l^k_t - \frac{1}{K-1} \sum_{j \ne k} l^j_t\Big) \nabla_\phi
        \log q(z^k_t \mid \tilde z_{<t}, x)

    with the cost of a frame :math:`l_t = \log p(x_t, z_t \mid \cdot) - \log q(z_t \mid \cdot)`. All
    draws of a frame share its past, so they differ only in the frame itself, and only one path runs
    through the loop over time: the variance of K paths at about half the cost. The gradient of the
    model is unbiased; that of the guide ignores the effect of a draw on later frames, as the
    published TSBN does.

    Args:
        model: the sequence model p.
        guide: the sequence guide q.
        particles: draws of each frame K, at least 2.

    Raises:
        ConfigError: fewer than two draws.

    Reference: the signal is that of Gan et al., Deep temporal sigmoid belief networks, 2015,
    algorithm 1; the baseline that of Kool, van Hoof and Welling, 2019. Their combination is ours.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB by frame", "eq. 10-11; Gan et al. 2015"),
    )
    needs: ClassVar[Needs] = Needs(reparameterised=False, sequential=True)
    by_frame: bool = True

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 4,
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused", **kl)

    def trace(self, batch: Batch) -> Terms:
        """K draws of every frame given one path."""
        model, guide = cast("Any", (self.model, self.guide))
        return frame_terms(model, guide, batch, self.particles)

    def estimate(self, terms: Terms) -> Loss:
        """Minus (bound + score term) per sequence."""
        signal = against_the_others(terms.cost.detach())
        surrogate = sequence_mean(terms.direct + signal * terms.log_score)
        return Loss(-surrogate, terms.report(), terms.by_name())


def against_the_others(signal: Tensor) -> Tensor:
    """The signal of every draw minus the mean of the other draws, (K, B, T).

    >>> import torch
    >>> against_the_others(torch.tensor([1.0, 2.0, 6.0]))
    tensor([-3.0000, -1.5000,  4.5000])
    """
    particles = len(signal)
    return (signal - signal.mean(0)) * particles / (particles - 1)
