"""The score gradient with the other draws as baseline."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Execution, Loss, Needs, SinglePhase, sequence_mean
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.traces import LogProbs


@final
class RLOO(SinglePhase):
    r"""The evidence lower bound by scores, every draw measured against the K - 1 others.

    With the cost of a frame :math:`l_t = \log p(x_t, z_t \mid \cdot) - \log q(z_t \mid \cdot)`,

    .. math::
        s^k_t = \sum_{u \ge t} \gamma^{u-t} \, l^k_u, \qquad
        \nabla_\phi L \approx \frac1K \sum_k \sum_t
        \Big(s^k_t - \frac{1}{K-1} \sum_{j \ne k} s^j_t\Big) \nabla_\phi \log q(z^k_t \mid \cdot)

    No network has to learn a baseline, and none could know the sequence as well as other draws for
    it do. Unbiased for signal "future"; a discount below one trades bias for variance.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        signal: "future" (discount 1), "local" (discount 0), or the discount :math:`\gamma` itself.
        execution: "fused" or "unrolled".

    Reference: Kool, van Hoof and Welling, Buy 4 REINFORCE samples, get a baseline for free!, 2019;
    Mnih and Rezende, Variational inference for Monte Carlo objectives, 2016, section 2.4, for the
    one-sample bound. The discount is ours.
    """

    needs: ClassVar[Needs] = Needs()

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 4,
        signal: Signal = 0.5,
        execution: Execution = "fused",
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution)
        self.discount = discount_of(signal)

    def estimate(self, log_probs: LogProbs) -> Loss:
        """Minus (bound + score term) per sequence."""
        ahead = reward_to_go(log_probs.log_w.detach(), self.discount)
        signal = (ahead - ahead.mean(0)) * self.particles / (self.particles - 1)
        surrogate = sequence_mean(log_probs.direct + signal * log_probs.log_score)
        return Loss(-surrogate, log_probs.report(), log_probs.sites)
