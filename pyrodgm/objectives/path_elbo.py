"""The evidence lower bound by gradients of the draws alone."""

from __future__ import annotations

from typing import Annotated, ClassVar, Unpack

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw
from pyrodgm.engine.rollout import Surrogate
from pyrodgm.engine.terms import Terms, path_terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.single import SinglePhase, sequence_mean


class PathELBO(SinglePhase):
    r"""The evidence lower bound, where the guide's gradient flows through its draws alone.

    .. math::
        \nabla_\phi = \nabla_\phi \big[\log p(x, z_\phi) - \log q_{\bar\phi}(z_\phi \mid x)\big],
        \qquad z_\phi = z(\epsilon, \phi), \quad \bar\phi = \phi \text{ held fixed}

    `surrogate` gives what latent sites without path gradients are drawn from; see
    `pyrodgm.engine.draws.draw`.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
    """

    surrogate: ClassVar[Surrogate | None] = None

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
        draws = draw(self.guide, batch, self.particles, surrogate=type(self).surrogate)
        return path_terms(self.model, self.guide, batch, draws.values, draws.encoded)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound, per sequence."""
        return Loss(-sequence_mean(terms.direct), terms.report(), terms.by_name())
