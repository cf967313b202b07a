"""The importance-weighted bound of K draws that carry no gradients."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.engine.terms import Terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.iwae import iwae_bound, shares
from pyrodgm.objectives.single import SinglePhase
from pyrodgm.objectives.targets import Targets

Others = Literal["geometric", "arithmetic", "ovis"]


@final
class VIMCO(SinglePhase):
    r"""The importance-weighted bound by score gradients, with the other draws as baseline.

    .. math::
        \hat L = \log \frac1K \sum_k w^k, \qquad
        \nabla L_K = E \sum_k \Big[ (\hat L - \hat L_{-k}) \nabla \log q(z^k \mid x)
            + \tilde w^k \nabla \log w^k \Big]

    where :math:`\hat L_{-k}` replaces :math:`w^k` by a mean of the other weights:

    .. math::
        \text{geometric: } \exp\Big(\frac{1}{K-1} \sum_{j \ne k} \log w^j\Big), \qquad
        \text{arithmetic: } \frac{1}{K-1} \sum_{j \ne k} w^j

    It does not depend on the draw, so the gradient is an unbiased gradient of the bound of `IWAE`.
    Weights are those of whole sequences; for long sequences see `rws` and `fivo`.

    With the arithmetic mean, the total factor of a score tends to the constant log(1 - 1/K) as its
    weight becomes small: noise that hides a gradient which vanishes as K grows. OVIS corrects it:

    .. math:: \hat L - \hat L_{-k} + \gamma \tilde w^k - (1 - \gamma) \log(1 - 1/K)

    With :math:`\gamma = 0` the gradient is unbiased, and the total factor,
    :math:`-\log(1 - \tilde w^k) - \tilde w^k`, is of the order of the square of the weight. A
    positive gamma changes the mean. The gradient of the guide is

    .. math:: \nabla_\phi L_K + \gamma E \sum_k \tilde w^k \nabla_\phi \log q(z^k \mid x)

    where the second term is the wake phase of `RWS`, which does not vanish as K grows.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        others: "geometric" or "arithmetic", the mean of the other weights; or "ovis", the
            arithmetic mean with the correction.
        gamma: of "ovis" alone, from 0 to 1; 0 if not given.

    Raises:
        UsageError: gamma without "ovis".

    Reference: Mnih and Rezende, Variational inference for Monte Carlo objectives, 2016, equations
    8 to 10; Liévin et al., Optimal variance control of the score-function gradient estimator for
    importance-weighted bounds, 2020, for OVIS. That gamma adds the wake phase is derived here.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("IW-LB", "IW-LB", "eq. 17-19, section 3.2.1"),
    )
    needs: ClassVar[Needs] = Needs(reparameterised=False)
    headline: ClassVar[str] = "iwae_nats_per_frame"
    one_weight: ClassVar[bool] = True

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: Annotated[int, Field(ge=2)] = 8,
        others: Others = "geometric",
        gamma: Annotated[float, Field(ge=0, le=1)] | None = None,
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused")
        self.validation_draws = particles
        if gamma is not None and others != "ovis":
            raise UsageError(f"gamma is for others='ovis', and others is {others!r}")
        self.others: Others = others
        self.gamma = gamma or 0.0

    def estimate(self, terms: Terms) -> Loss:
        """Minus (weighted log weights + score term), per sequence."""
        signal = iwae_bound(terms) - without_each(terms.log_w.sum(-1).detach(), self.others)
        if self.others == "ovis":
            lacking = math.log1p(-1 / self.particles)
            signal = signal + self.gamma * shares(terms) - (1 - self.gamma) * lacking
        weighted = shares(terms) * terms.log_w.sum(-1)
        scored = signal * terms.log_score.sum(-1)
        report = {"iwae_nats_per_frame": iwae_bound(terms).sum() / terms.mask.sum()}
        surrogate = (weighted + scored).sum(0).mean()
        return Loss(-surrogate, report | terms.report(), terms.by_name())


@torch.no_grad()
def without_each(log_w: Tensor, others: Others) -> Tensor:
    r"""The log of the mean weight, with each weight replaced by a mean of the others, (K, B).

    Args:
        log_w: log importance weights, (K, B).
        others: "geometric"; the mean is arithmetic otherwise.

    >>> without_each(torch.tensor([[1.0], [3.0]]), "geometric").flatten().tolist()
    [3.0, 1.0]
    """
    particles = len(log_w)
    own = torch.eye(particles, dtype=torch.bool, device=log_w.device)[..., None]
    if others == "geometric":
        mean = (log_w.sum(0) - log_w) / (particles - 1)
        return torch.where(own, mean, log_w).logsumexp(1) - math.log(particles)
    rest = log_w.expand(particles, *log_w.shape).masked_fill(own, -torch.inf)
    return rest.logsumexp(1) - math.log(particles - 1)
