"""The evidence lower bound without the score of the guide: sticking the landing."""

from __future__ import annotations

from typing import Annotated, ClassVar, Unpack, final

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import Terms, path_terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.single import SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class STL(SinglePhase):
    r"""The evidence lower bound, with the gradient of the guide through its draws alone.

    .. math::
        \nabla_\phi = \nabla_\phi \big[\log p(x, z_\phi) - \log q_{\bar\phi}(z_\phi \mid x)\big],
        \qquad z_\phi = z(\epsilon, \phi), \quad \bar\phi = \phi \text{ held fixed}

    The mean gradient is that of `ELBO`. Its variance converges to zero as the guide approaches the
    exact posterior; that of `ELBO` does not.

    Args:
        model: the model p.
        guide: the guide q, all of whose draws carry gradients.
        particles: number of draws K.

    Reference: Roeder, Wu and Duvenaud, Sticking the landing, 2017, equation 8.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB", "section 3.2.1, path derivative"),
    )
    needs: ClassVar[Needs] = Needs(reparameterised=True)

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
        """Log-probabilities of K draws, with the weights of the guide held fixed in its own."""
        draws = draw(self.guide, batch, self.particles)
        return path_terms(self.model, self.guide, batch, draws.values)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound, per sequence."""
        return Loss(-sequence_mean(terms.direct), terms.report(), terms.by_name())
