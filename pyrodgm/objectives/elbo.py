"""The evidence lower bound, with pathwise gradients where available and else score gradients."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Unpack, final

from pydantic import Field

from pyrodgm.engine.terms import Terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions, with_exact_kl
from pyrodgm.objectives.single import Execution, SinglePhase, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class ELBO(SinglePhase):
    r"""The evidence lower bound and its plain gradient.

    .. math::
        L &= E_q[\log p(x, z) - \log q(z \mid x)] \\
        \nabla_\phi L &= E_q[(\log p - \log q) \, \nabla_\phi \log q(z \mid x)]
        \quad\text{where draws carry no gradient}

    With ``kl="analytic"``, the terms log q - log p of the latents are replaced by the divergence of
    the two distributions in every frame, of which they are an estimate:

    .. math:: L = E_q \sum_t \big[\log p(x_t \mid \cdot) -
        \mathrm{KL}\big(q(z_t \mid \cdot), p(z_t \mid \cdot)\big)\big]

    This is the reference for other estimators. For discrete sequences its variance grows with the
    length; `NVIL` and `RLOO` have less.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
        execution: "fused" or "unrolled".
        kl: "sampled", or "analytic" for a closed form: normal latents, bits or classes, in a single
            site.

    Raises:
        UsageError: "analytic" with another execution than "fused".
        CompatibilityError: "analytic" with several latent sites, which may depend on each other in
            the other order in the guide, or with distributions that have no closed form.

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
        kl: Literal["sampled", "analytic"] = "sampled",
        **weights: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution=execution, **weights)
        self.kl = kl
        if kl == "analytic":
            _check_analytic(guide, execution)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound per sequence, plus the score term."""
        if self.kl == "analytic":
            terms = with_exact_kl(terms)
        signal = terms.cost.detach().sum(-1, keepdim=True)
        surrogate = sequence_mean(terms.direct + signal * terms.log_score)
        return Loss(-surrogate, terms.report(), terms.by_name())


def _check_analytic(guide: Guide, execution: Execution) -> None:
    """Refuse what has no closed form of the divergence.

    Raises:
        UsageError: another execution than "fused".
        CompatibilityError: several latent sites.
    """
    if execution != "fused":
        raise UsageError(f"kl is 'analytic' and execution '{execution}'; take execution 'fused'")
    if len(guide.latents) != 1:
        raise CompatibilityError(
            f"kl is 'analytic', but {type(guide).__name__} draws {len(guide.latents)} sites "
            f"({', '.join(guide.latents)}), which may depend on each other in another order than "
            "in the model; take kl 'sampled'"
        )
