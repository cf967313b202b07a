"""The importance-weighted bound of K draws that carry gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import Terms, path_terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.single import SinglePhase
from pyrodgm.objectives.targets import Targets

Gradient = Literal["doubly-reparameterised", "plain"]


@final
class IWAE(SinglePhase):
    r"""The importance-weighted bound, with weights of whole sequences.

    .. math::
        L_K = E \log \frac1K \sum_k w^k, \qquad
        w^k = \frac{p(x, z^k)}{q(z^k \mid x)}, \qquad
        \tilde w^k = \frac{w^k}{\sum_j w^j}

    It increases with K from the evidence lower bound to log p(x). Its gradient is that of
    :math:`\sum_k \tilde w^k \log w^k` with fixed weights :math:`\tilde w`. For the guide, its
    signal-to-noise ratio decreases with K. The doubly reparameterised gradient,

    .. math:: \nabla_\phi L_K = E \sum_k (\tilde w^k)^2\,
        \frac{\partial \log w^k}{\partial z^k} \frac{\partial z^k}{\partial \phi}

    has the same mean, and its variance vanishes if the guide is the posterior. It needs a second
    scoring of the draws by the guide.

    Args:
        model: the model p.
        guide: the guide q, all of whose draws carry gradients.
        particles: number of draws K.
        gradient: of the guide, "doubly-reparameterised" or "plain".

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, equations 8
    and 14; Tucker et al., Doubly reparameterized gradient estimators, 2019, equation 8.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("IW-LB", "IW-LB", "eq. 17-19"),)
    needs: ClassVar[Needs] = Needs(reparameterised=True)
    unbiased: ClassVar[Mapping[str, Any]] = MappingProxyType({"gradient": "plain"})
    headline: ClassVar[str] = "iwae_nats_per_frame"

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=1)] = 8,
        gradient: Gradient = "doubly-reparameterised",
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused")
        self.validation_draws = particles
        self.gradient: Gradient = gradient

    @property
    def draws_itself(self) -> bool:
        """Whether draws are scored twice, for the doubly reparameterised gradient."""
        return self.gradient != "plain"

    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K draws, prepared for the chosen gradient."""
        if self.gradient == "plain":
            return super().trace(batch)
        draws = draw(self.guide, batch, self.particles)
        values = {name: value.clone() for name, value in draws.values.items()}
        terms = path_terms(self.model, self.guide, batch, values, draws.encoded)
        share = shares(terms)
        for value in values.values():
            if value.requires_grad:  # the second factor of the square of the weights
                value.register_hook(lambda gradient: gradient * share.to(gradient)[..., None, None])
        return terms

    def estimate(self, terms: Terms) -> Loss:
        """Minus the bound, per sequence."""
        bound = iwae_bound(terms)
        surrogate = (shares(terms) * terms.log_w.sum(-1)).sum(0).mean()
        report = {"iwae_nats_per_frame": bound.sum() / terms.mask.sum()}
        return Loss(-surrogate, report | terms.report(), terms.by_name())


@torch.no_grad()
def shares(terms: Terms) -> Tensor:
    """Self-normalised importance weights of the draws of every sequence, (K, B)."""
    return terms.log_w.sum(-1).softmax(0)


@torch.no_grad()
def iwae_bound(terms: Terms) -> Tensor:
    """The log of the mean importance weight of every sequence, (B,), in nats."""
    return terms.log_w.sum(-1).logsumexp(0) - math.log(terms.particles)
