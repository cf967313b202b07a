"""Score gradients of bits from antithetic pairs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Unpack, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import logits_of
from pyrodgm.engine.local import antithetic_terms
from pyrodgm.engine.terms import Terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.rloo import against_the_others
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.objectives.single import SinglePhase, frame_programs, sequence_mean
from pyrodgm.objectives.targets import Targets


@final
class DisARM(SinglePhase):
    r"""The evidence lower bound by score gradients of antithetic pairs.

    A bit :math:`z = [\varepsilon < \lambda]` with log-odds :math:`\lambda` and its antithetic bit
    :math:`\tilde z = [-\varepsilon < \lambda]` have the same distribution, and for independent bits

    .. math:: \nabla_\lambda E f(z) = E\, \tfrac12 \big(f(z) - f(\tilde z)\big) (z - \tilde z)\,
        \sigma(|\lambda|)

    Bits on which both agree have no gradient, and no noise. This needs one :math:`\lambda` for both
    draws, which two paths lose as soon as they part. For K paths, every frame's own cost
    :math:`l_t` therefore has a pair given the past on one path, and what it contributes to later
    costs has the K - 1 other paths as baseline:

    .. math::
        \nabla_\phi L \approx \frac1K \sum_k \sum_t \Big[
        \tfrac12 \big(l_t(z^k_t) - l_t(\tilde z^k_t)\big) (z^k_t - \tilde z^k_t)\,
        \sigma(|\lambda^k_t|) + \Big(s^k_t - \frac{1}{K-1} \sum_{j \ne k} s^j_t\Big)
        \big(z^k_t - \sigma(\lambda^k_t)\big) \Big] \cdot \nabla_\phi \lambda^k_t,
        \qquad s_t = \sum_{u > t} \gamma^{u-t} \, l_u

    Layers have a pair each: given the layers below, which both have in common, a layer's bits are
    antithetic, and those above follow from the noise of the path. The gradient is unbiased for
    rows, and for sequences at signal "future"; "local" has the first term only. Pairs do not help
    with later costs: where these prevail, `RLOO` with twice the paths has less variance.

    Args:
        model: the model p, with binary latents.
        guide: the guide q.
        particles: number of paths K, each with a pair of every layer of every frame.
        signal: "local" (discount 0), "future" (discount 1), or the discount :math:`\gamma` itself.
            Costs of later frames need at least 2 paths.

    Raises:
        UsageError: one path, for costs of later frames.
        CompatibilityError: the model or the guide has no frames, or draws other than bits.

    Reference: Dong, Mnih and Tucker, DisARM: an antithetic gradient estimator for binary latent
    variables, 2020; Yin et al., Probabilistic best subset selection via gradient-based
    optimization, 2020, for the same estimator. The form for sequences is ours.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB", "eq. 10-11; Dong et al. 2020", "signal=future, or rows"),
        Targets("V-LB", "V-LB by frame", "eq. 10-11; Dong et al. 2020", "signal=local"),
    )
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"binary"}), reparameterised=False, independent_bits=True
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 1,
        signal: Signal = "local",
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused", **kl)
        over_time = guide.traits.sequential is not False
        self.discount = discount_of(signal) if over_time else 0.0
        if self.discount > 0 and particles < 2:
            raise UsageError(
                f"signal is {signal!r} and particles is {particles}: costs of later frames have "
                "the other paths as baseline; give particles=2 or more, or signal='local'"
            )

    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K paths, and of an antithetic draw of every layer and frame."""
        model, guide = frame_programs(self, "rloo")
        return antithetic_terms(model, guide, batch, self.particles)

    def estimate(self, terms: Terms) -> Loss:
        """Minus (bound + score term) per sequence."""
        surrogate = sequence_mean(terms.direct)
        cost = self._of_branches(terms.cost.detach())
        later = self._later(cost[0])[..., None]
        for branch, (name, bits) in enumerate(terms.drawn_from.items(), start=1):
            value, logits = self._of_branches(terms.values[name]), logits_of(bits)
            z, antithetic = value[0], value[branch]
            with torch.no_grad():
                half = (cost[0] - cost[branch])[..., None] / 2
                weight = half * (z - antithetic) * logits.abs().sigmoid()
                weight = weight + later * (z - logits.sigmoid())
            surrogate = surrogate + sequence_mean((weight * logits).sum(-1))
        return Loss(-surrogate, terms.report(), terms.by_name())

    def _of_branches(self, drawn: Tensor) -> Tensor:
        """What belongs to the path, and to the branch of every layer, (L + 1, K, B, T, ...)."""
        return drawn.unflatten(0, (-1, self.particles))

    def _later(self, cost: Tensor) -> Tensor:
        """Discounted costs of later frames, less those of the other paths, (K, B, T)."""
        if self.discount == 0:
            return torch.zeros_like(cost)
        return against_the_others(reward_to_go(cost, self.discount) - cost)
