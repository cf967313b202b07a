"""The evidence lower bound, with pathwise gradients where available and else score gradients."""

from __future__ import annotations

from typing import Annotated, ClassVar, Unpack, final

from pydantic import Field

from pyrodgm.engine.terms import Terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.single import Execution, SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class ELBO(SinglePhase):
    r"""The evidence lower bound and its plain gradient.

    .. math::
        L &= E_q[\log p(x, z) - \log q(z \mid x)] \\
        \nabla_\phi L &= E_q[(\log p - \log q) \, \nabla_\phi \log q(z \mid x)]
        \quad\text{where draws carry no gradient}

    This is the reference for other estimators. For discrete sequences its variance grows with the
    length; `NVIL` and `RLOO` have less.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
        execution: "fused" or "unrolled".

    Reference: Ou, A review of learning with deep generative models, equations 7 to 13.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 10-13"),)
    needs: ClassVar[Needs] = Needs()

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 1,
        execution: Execution = "fused",
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution, **kl)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound per sequence, plus the score term."""
        signal = terms.cost.detach().sum(-1, keepdim=True)
        surrogate = sequence_mean(terms.direct + signal * terms.log_score)
        return Loss(-surrogate, terms.report(), terms.by_name())
