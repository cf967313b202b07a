"""The variational Rényi bound of K draws that carry gradients."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.engine.terms import Terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.single import Execution, SinglePhase
from pyrodgm.objectives.targets import Targets


@final
class RenyiELBO(SinglePhase):
    r"""The variational Rényi bound of order alpha, with weights of whole sequences.

    .. math::
        L_\alpha = E \, \frac{1}{1 - \alpha} \log \frac1K \sum_k (w^k)^{1 - \alpha}, \qquad
        w^k = \frac{p(x, z^k)}{q(z^k \mid x)}

    It is the bound of `IWAE` for alpha 0, tends to the evidence lower bound as alpha tends to 1,
    and falls as alpha grows. It is a lower bound on log p(x) for every alpha from 0 on, and none
    for a negative one.

    This is the bound of Pyro's `RenyiELBO`, with the same gradient. Pyro's weights are those of
    a datum only if all sites are in the same plates, and of the whole batch otherwise; here they
    are always those of a sequence. For discrete latents Pyro's gradient of the guide is wrong (zero
    for alpha 0), because the score of the draws is left out; use `VIMCO`.

    Args:
        model: the model p.
        guide: the guide q, all of whose draws carry gradients.
        particles: number of draws K.
        alpha: order of the divergence, from 0, not 1.
        execution: "fused" or "unrolled".

    Raises:
        UsageError: alpha is 1.

    Reference: Li and Turner, Rényi divergence variational inference, 2016, equations 7 and 12.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("Rényi bound", "Rényi bound", "Li and Turner 2016, eq. 7, 12"),
    )
    needs: ClassVar[Needs] = Needs(reparameterised=True)
    headline: ClassVar[str] = "renyi_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 8,
        alpha: Annotated[float, Field(ge=0)] = 0.5,
        execution: Execution = "fused",
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution)
        self.validation_draws = particles
        if alpha == 1:
            raise UsageError("alpha is 1, where this bound is the evidence lower bound; use elbo")
        self.alpha = alpha

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound, per sequence; the draws carry its gradient."""
        power = (1 - self.alpha) * terms.log_w.sum(-1)
        bound = (power.logsumexp(0) - math.log(self.particles)) / (1 - self.alpha)
        report = {self.headline: bound.detach().sum() / terms.mask.sum()}
        return Loss(-bound.mean(), report | terms.report(), terms.by_name())
