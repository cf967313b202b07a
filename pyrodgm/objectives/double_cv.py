"""Score gradients of bits with two control variates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Unpack, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import logits_given
from pyrodgm.engine.draws import draw
from pyrodgm.engine.local import frame_terms
from pyrodgm.engine.terms import Terms, scored_terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.kl import KLOptions
from pyrodgm.objectives.rloo import against_the_others
from pyrodgm.objectives.signal import Signal, discount_of, reward_to_go
from pyrodgm.objectives.single import SinglePhase, frame_programs, sequence_mean
from pyrodgm.objectives.state import Running
from pyrodgm.objectives.targets import Targets

LogitGradient = dict[str, Tensor]


@final
class DoubleCV(SinglePhase):
    r"""The evidence lower bound by score gradients, with the other draws and their slopes.

    With the cost of a frame :math:`l_t`, its log-odds and probabilities :math:`\lambda_t` and
    :math:`p_t = \sigma(\lambda_t)`, and the mean slope of the K - 1 other draws,
    :math:`g^{-k}_t = \frac{1}{K-1} \sum_{j \ne k} \partial_{z_t} \sum_u l_u(z^j)`,

    .. math::
        f^k_t &= l^k_t + a\, g^{-k}_t \cdot (z^k_t - p^k_t), \qquad
        s^k_t = \sum_{u \ge t} \gamma^{u-t} f^k_u \\
        \nabla_\phi L &\approx \frac1K \sum_k \sum_t \Big[
        \Big(s^k_t - \frac{1}{K-1} \sum_{j \ne k} s^j_t\Big)(z^k_t - p^k_t)
        - a\, g^{-k}_t \, p^k_t (1 - p^k_t) \Big] \cdot \nabla_\phi \lambda^k_t

    The slope predicts how the cost of a draw differs from its mean; the mean of what it adds is
    known and taken off again. Of all products of the added terms with scores, only those of the
    same bit have a mean, because given what precedes it, a bit differs from its probability by zero
    on average. So the gradient is unbiased at signal "future", for guides over time, for layers,
    and for bits that depend on those before them in their layer, whose log-odds are given these.
    Slopes take one pass back through the scores.

    The variance is quadratic in a, and a is its minimum by running moments, -1 at first.

    Args:
        model: the model p, with binary latents.
        guide: the guide q.
        particles: number of draws K, at least 2.
        signal: "future" (discount 1), or the discount :math:`\gamma` itself, of K paths; or
            "local", of K draws of every frame given one path, as in `LocalRLOO`.
        decay: weight of the old value in the running moments.

    Raises:
        CompatibilityError: signal "local", for a model or guide without frames.

    Reference: Titsias and Shi, Double control variates for gradient estimation in discrete latent
    variable models, 2022. The form for dependent draws is derived from it.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("V-LB", "V-LB", "eq. 10-11; Titsias and Shi 2022", "signal=future, or rows"),
        Targets("V-LB", "V-LB by frame", "eq. 10-11; Titsias and Shi 2022", "signal=local"),
    )
    needs: ClassVar[Needs] = Needs(latents=frozenset({"binary"}), reparameterised=False)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 2,
        signal: Signal = "local",
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        **kl: Unpack[KLOptions],
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused", **kl)
        self.discount = discount_of(signal)
        self.given_path = self.discount == 0 and guide.traits.sequential is not False
        self.product = Running(decay, start=1.0)  # of the two parts of the gradient
        self.square = Running(decay, start=1.0)  # of the second part

    @property
    def scale(self) -> Tensor:
        """The coefficient a."""
        return -self.product.value / self.square.value

    @torch.enable_grad()
    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K draws, which are leaves."""
        if self.given_path:
            model, guide = frame_programs(self, "signal='future'")
            return frame_terms(model, guide, batch, self.particles, leaves=True)
        drawn = draw(self.guide, batch, self.particles).values
        leaves = {name: value.detach().requires_grad_() for name, value in drawn.items()}
        return scored_terms(self.model, self.guide, batch, leaves)

    def estimate(self, terms: Terms) -> Loss:
        """Minus (bound + score term) per sequence."""
        with torch.enable_grad():
            slopes = {name: of_others(slope) for name, slope in terms.slopes().items()}
            surrogate = sequence_mean(terms.direct)
        plain, control = self._parts(terms, slopes)
        scale = self.scale
        for name, bits in terms.drawn_from.items():
            weight = plain[name] + scale * control[name]
            logits = logits_given(bits, terms.values[name].detach())
            surrogate = surrogate + sequence_mean((weight * logits).sum(-1))
        if self.training:
            self._update(plain, control)
        return Loss(-surrogate, terms.report(), terms.by_name())

    @torch.no_grad()
    def _parts(
        self, terms: Terms, slopes: Mapping[str, Tensor]
    ) -> tuple[LogitGradient, LogitGradient]:
        """The gradient on the log-odds without a, and what is multiplied by a, (K, B, T, D)."""
        p = {
            name: logits_given(bits, terms.values[name]).sigmoid()
            for name, bits in terms.drawn_from.items()
        }
        off = {name: terms.values[name] - p[name] for name in p}
        added = torch.stack([(slopes[name] * off[name]).sum(-1) for name in off]).sum(0)
        signals = [
            against_the_others(reward_to_go(cost, self.discount))[..., None]
            for cost in (terms.cost, added)
        ]
        plain = {name: signals[0] * off[name] for name in off}
        control = {
            name: signals[1] * off[name] - slopes[name] * p[name] * (1 - p[name]) for name in p
        }
        return plain, control

    def _update(self, plain: LogitGradient, control: LogitGradient) -> None:
        """Update the moments, of gradients summed over draws, by which variances are compared."""
        pairs = [(plain[name].mean(0), control[name].mean(0)) for name in plain]
        self.product.update(torch.stack([(one * other).sum() for one, other in pairs]).sum())
        self.square.update(torch.stack([other.square().sum() for _, other in pairs]).sum())


def of_others(slope: Tensor) -> Tensor:
    """The mean over the other draws, (K, B, T, D).

    >>> of_others(torch.tensor([1.0, 2.0, 6.0])).tolist()
    [4.0, 3.5, 1.5]
    """
    return (slope.sum(0) - slope) / (len(slope) - 1)
