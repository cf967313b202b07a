"""The thermodynamic variational objective: a Riemann sum between guide and posterior."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.terms import Terms, terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.single import SinglePhase
from pyrodgm.objectives.targets import Targets


@final
class TVO(SinglePhase):
    r"""The thermodynamic variational objective, with covariances in the place of score gradients.

    With :math:`l = \log p(x, z) - \log q(z \mid x)` and the path of densities
    :math:`\pi_\beta \propto q(z \mid x)^{1 - \beta}\, p(x, z)^\beta` from guide to posterior,

    .. math::
        \log p(x) = \int_0^1 \mathrm{E}_{\pi_\beta}[l] \, d\beta
        \ge \sum_{i=0}^{P-1} (\beta_{i+1} - \beta_i) \, \mathrm{E}_{\pi_{\beta_i}}[l]

    because the integrand rises, where :math:`\beta_0 = 0` and :math:`\beta_1` to
    :math:`\beta_P = 1` are a geometric sequence. Expectations are over K draws from the guide with
    weights :math:`\tilde w^k \propto e^{\beta l^k}`, of whole sequences. With
    :math:`\bar l = \sum_k \tilde w^k l^k`, the gradient of each is

    .. math::
        \sum_k \tilde w^k \nabla l^k + \frac1K \sum_k \nabla \log q^k
        + \sum_k \tilde w^k (l^k - \bar l)
        \Big[\frac{K}{K-1} \nabla \log q^k + \beta \nabla l^k\Big]

    The gradient of the model is an unbiased gradient of the mean estimate. For every K, this is a
    lower bound between the evidence lower bound and that of `IWAE`, because the integral of the
    estimates is :math:`\log \frac1K \sum_k e^{l^k}`. The gradient of the guide has a bias of order
    1/K where beta is not 0. With P = 1 and draws without gradients it is `RLOO` of
    whole paths. For long sequences see `rws` and `fivo`, whose weights are not those of whole ones.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        partitions: terms P of the sum.
        first: :math:`\beta_1`, if there are two terms or more.

    Reference: Masrani, Le and Wood, The thermodynamic variational objective, 2019. Two changes do
    not alter what the gradient converges to: the second sum, of mean zero, and the factor of
    K/(K-1), which makes the term of :math:`\beta = 0` unbiased. The statement on K draws is derived
    here.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("thermodynamic LB", "thermodynamic LB", "Masrani et al. 2019"),
    )
    needs: ClassVar[Needs] = Needs()
    headline: ClassVar[str] = "tvo_nats_per_frame"
    betas: Tensor
    widths: Tensor

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 10,
        partitions: Annotated[int, Field(ge=1)] = 2,
        first: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused")
        self.validation_draws = particles if partitions > 1 else 1
        rising = geometric(first, partitions)
        betas = torch.cat([torch.zeros(1), rising])
        self.register_buffer("betas", betas[:-1, None, None], persistent=False)
        self.register_buffer("widths", betas.diff()[:, None, None], persistent=False)

    def trace(self, batch: Batch) -> Terms:
        """K draws of every path, without path gradients."""
        return terms(self.model, self.guide, batch, self.particles, pathwise=False)

    def estimate(self, terms: Terms) -> Loss:
        """Minus the sum over the partitions, per sequence."""
        log_q, log_w = terms.log_q.sum(-1), terms.log_w.sum(-1)
        cost = log_w.detach()
        share = (self.betas * cost).softmax(1)  # (P, K, B)
        mean = (share * cost).sum(1, keepdim=True)
        rest = self.particles / (self.particles - 1)
        direct = share * log_w + log_q / self.particles
        covaried = share * (cost - mean) * (rest * log_q + self.betas * log_w)
        surrogate = (self.widths * (direct + covaried)).sum((0, 1)).mean()
        bound = (self.widths * mean).sum() / terms.mask.sum()
        return Loss(-surrogate, {self.headline: bound} | terms.report(), terms.by_name())


def geometric(first: float, num: int) -> Tensor:
    """Numbers that rise from the first to 1 by equal factors, (num,); 1 alone if there is one.

    >>> geometric(0.01, 3)
    tensor([0.0100, 0.1000, 1.0000])
    """
    if num == 1:
        return torch.ones(1)
    return first ** torch.linspace(1, 0, num)
