"""Kullback-Leibler divergences in closed form, of the distributions of latents."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.distributions.kl import register_kl

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.dot import at_least_single
from pyrodgm.distributions.normal import NormalVector
from pyrodgm.distributions.one_hot import OneHotVector
from pyrodgm.errors import CompatibilityError


def divergence(q: torch.distributions.Distribution, p: torch.distributions.Distribution) -> Tensor:
    """KL(q, p) of two distributions of an event, in nats, of their batch shape.

    Raises:
        CompatibilityError: there is no closed form.

    >>> one = NormalVector(torch.zeros(2), torch.ones(2))
    >>> divergence(NormalVector(torch.ones(2), torch.ones(2)), one)
    tensor(1.)
    """
    try:
        return kl_divergence(_as_vector(q), _as_vector(p))
    except NotImplementedError:
        raise CompatibilityError(
            f"the divergence of {type(q).__name__} from {type(p).__name__} has no closed form "
            "here; draw both from NormalVector, BernoulliVector or OneHotVector, or for elbo, "
            "estimate it from draws (objective.kl=sampled)"
        ) from None


def _as_vector(given: torch.distributions.Distribution) -> torch.distributions.Distribution:
    """Independent normal numbers as `NormalVector`; anything else as it is."""
    if isinstance(given, Independent) and given.reinterpreted_batch_ndims == 1:
        base: Any = given.base_dist
        if isinstance(base, Normal):
            return NormalVector(base.loc, base.scale)
    return given


@register_kl(NormalVector, NormalVector)
def _normals(q: NormalVector, p: NormalVector) -> Tensor:
    loc, scale, p_loc, p_scale = at_least_single(q.loc, q.scale, p.loc, p.scale)
    ratio, shift = scale / p_scale, (loc - p_loc) / p_scale
    return (0.5 * (ratio.square() + shift.square() - 1) - ratio.log()).sum(-1)


@register_kl(BernoulliVector, BernoulliVector)
def _bits(q: BernoulliVector, p: BernoulliVector) -> Tensor:
    of_q, of_p = at_least_single(q.logits, p.logits)
    on = F.logsigmoid(of_q) - F.logsigmoid(of_p)
    off = F.logsigmoid(-of_q) - F.logsigmoid(-of_p)
    return torch.lerp(off, on, of_q.sigmoid()).sum(-1)


@register_kl(OneHotVector, OneHotVector)
def _classes(q: OneHotVector, p: OneHotVector) -> Tensor:
    rows = at_least_single(*(each.rows(each.logits) for each in (q, p)))
    log_q, log_p = (each.log_softmax(-1) for each in rows)
    return (log_q.exp() * (log_q - log_p)).sum((-1, -2))
