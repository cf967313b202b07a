"""The evidence lower bound with straight-through gradients of bits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Unpack, final

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.distributions import StraightThroughBits
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import Terms, path_terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.single import SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class StraightThrough(SinglePhase):
    r"""The evidence lower bound, where bits pass on gradients as their mean does.

    .. math::
        \nabla_\phi L \approx \nabla_\phi \big[\log p(x, z) - \log q_{\bar\phi}(z \mid x)\big],
        \qquad \frac{\partial z}{\partial l} := \sigma(l)\, \sigma(-l), \quad z = [\varepsilon < l]

    with log-odds l, and :math:`\bar\phi = \phi` held fixed: the gradient flows through the draws
    alone, and through all later draws that depend on them. It is **biased** in :math:`\phi`, unless
    the bound is linear in every bit; the gradient of the model is unbiased. The error is of the
    order of the bound's second derivatives in the bits, and does not vanish with more draws; that
    of `ReinMax`, at the same cost, is of the order of its third derivatives.

    Args:
        model: the model p, with binary latents.
        guide: the guide q.
        particles: number of draws K.

    Reference: Bengio, Leonard and Courville, Estimating or propagating gradients through stochastic
    neurons for conditional computation, 2013, with the derivative of the sigmoid.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB, biased", "section 3.2.1; Bengio et al. 2013"),
    )
    needs: ClassVar[Needs] = Needs(latents=frozenset({"binary"}), reparameterised=False)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 1,
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused", **kl)

    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K draws that carry gradients."""
        draws = draw(self.guide, batch, self.particles, surrogate=StraightThroughBits)
        return path_terms(self.model, self.guide, batch, draws.values)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound, per sequence."""
        return Loss(-sequence_mean(terms.direct), terms.report(), terms.by_name())
