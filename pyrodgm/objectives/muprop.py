"""Score gradients of bits with a first-order expansion around the mean field as baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, NamedTuple, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import MeanFieldBits, logits_of
from pyrodgm.engine.draws import draw
from pyrodgm.engine.frozen import frozen
from pyrodgm.engine.terms import Terms, scored_terms, terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.kl import KLTerm
from pyrodgm.objectives.schedule import NonNegative
from pyrodgm.objectives.signal import reward_to_go
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.state import Running
from pyrodgm.objectives.targets import Targets


class Expansion(NamedTuple):
    """The bound's first-order expansion around the mean field.

    Args:
        values: means of the bits, each computed from the means before it, (1, B, T, D) by site.
        cost: what is learnt there, by frame, (1, B, T).
        slopes: total derivatives of the sum of all costs, (1, B, T, D) by site.
    """

    values: dict[str, Tensor]
    cost: Tensor
    slopes: dict[str, Tensor]


@final
class MuProp(Objective):
    r"""The evidence lower bound by score gradients, with a Taylor expansion as baseline.

    The mean field :math:`\bar z_t = \sigma(\lambda_t(\bar z_{<t}))` passes on means in the place of
    bits, through all layers and frames. With the cost of a frame :math:`l_t`, probabilities
    :math:`p_t = \sigma(\lambda_t)`, the mean field's cost :math:`\bar l_t` and its total derivative
    :math:`g_t = \mathrm{d} \sum_u \bar l_u / \mathrm{d} \bar z_t`, and a running mean m,

    .. math::
        \nabla_\phi L \approx \sum_t \Big[ \Big(\sum_{u \ge t} (l_u - \bar l_u - m)
        - g_t \cdot (z_t - \bar z_t)\Big) (z_t - p_t) + g_t \, p_t (1 - p_t) \Big]
        \cdot \nabla_\phi \lambda_t

    The last term is the mean of what the expansion takes from the score, so that the gradient is
    unbiased. The mean field is one more path, with one pass back through it.

    Args:
        model: the model p, with binary latents.
        guide: the guide q.
        particles: number of draws K.
        decay: weight of the old value in the running mean.
        kl_weight: weight of the KL term in the cost, a number or a schedule; see `KLTerm`.
        free_bits: nats of KL per site and frame that cost nothing, a number or a schedule.

    Raises:
        CompatibilityError: the guide is not a sequence program, or draws other than bits.

    Reference: Gu et al., MuProp: unbiased backpropagation for stochastic neural networks, 2016. The
    probabilities given the layers and frames before make it unbiased for dependent bits too.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "V-LB", "eq. 10-11; Gu et al. 2016"),)
    needs: ClassVar[Needs] = Needs(
        latents=frozenset({"binary"}), reparameterised=False, independent_bits=True
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 1,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.8,
        kl_weight: NonNegative = 1.0,
        free_bits: NonNegative = 0.0,
    ) -> None:
        super().__init__(model, guide)
        self.particles = particles
        self.mean = Running(decay)
        self.kl_term = KLTerm(kl_weight, free_bits)

    def loss(self, batch: Batch) -> Loss:
        """Minus (bound + score term) per sequence."""
        drawn = self.kl_term(terms(self.model, self.guide, batch, self.particles))
        expansion = self._expansion(batch, drawn.kl_weights)
        signal = self._signal(drawn, expansion)
        surrogate = sequence_mean(drawn.direct)
        for name, bits in drawn.drawn_from.items():
            logits, slope = logits_of(bits), expansion.slopes[name]
            with torch.no_grad():
                value, p = drawn.values[name], logits.sigmoid()
                linear = (slope * (value - expansion.values[name])).sum(-1, keepdim=True)
                weight = (signal[..., None] - linear) * (value - p) + slope * p * (1 - p)
            surrogate = surrogate + sequence_mean((weight * logits).sum(-1))
        return Loss(-surrogate, drawn.report() | self.kl_term.report, drawn.by_name())

    @torch.enable_grad()
    def _expansion(self, batch: Batch, kl_weights: Mapping[str, Tensor]) -> Expansion:
        """The mean field of a batch, its costs, and their derivatives by displacements of it."""
        shape = (1, batch.size, batch.length)
        still = {
            name: batch.x.new_zeros(*shape, site.dim).requires_grad_()
            for name, site in self.guide.latents.items()
        }
        with frozen([*self.model.parameters(), *self.guide.parameters()]):
            means = draw(self.guide, batch, noise=still, surrogate=MeanFieldBits).values
            at_means = scored_terms(self.model, self.guide, batch, means)
            cost = replace(at_means, kl_weights=kl_weights).cost
        slopes = torch.autograd.grad(cost.sum(), tuple(still.values()), materialize_grads=True)
        values = {name: value.detach() for name, value in means.items()}
        return Expansion(values, cost.detach(), dict(zip(still, slopes, strict=True)))

    @torch.no_grad()
    def _signal(self, drawn: Terms, expansion: Expansion) -> Tensor:
        """Costs from every frame on, less those of the mean field and their mean, (K, B, T)."""
        frames = drawn.mask.to(expansion.cost.dtype).expand(self.particles, -1, -1)
        residual = drawn.cost - expansion.cost
        signal = reward_to_go((residual - self.mean.value) * frames)
        if self.training:
            self.mean.update((residual * frames).sum() / frames.sum().clamp(min=1))
        return signal
