"""The importance-weighted bound of K draws that carry no gradients."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.engine.terms import Terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs
from pyrodgm.objectives.iwae import iwae_bound, shares
from pyrodgm.objectives.single import SinglePhase
from pyrodgm.objectives.targets import Targets

Others = Literal["geometric", "arithmetic"]


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

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K, at least 2.
        others: the mean of the other weights, "geometric" or "arithmetic".

    Reference: Mnih and Rezende, Variational inference for Monte Carlo objectives, 2016, equations
    8 to 10.
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
    ) -> None:
        super().__init__(model, guide, particles=particles, execution="fused")
        self.others: Others = others

    def estimate(self, terms: Terms) -> Loss:
        """Minus (weighted log weights + score term), per sequence."""
        signal = iwae_bound(terms) - without_each(terms.log_w.sum(-1).detach(), self.others)
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
        others: "geometric" or "arithmetic".

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
