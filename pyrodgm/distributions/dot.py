"""The dot product over features, in the precision of its factors; numbers for sums of many."""

from __future__ import annotations

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    r"""The sum of products, :math:`\sum_d a_d b_d`, over the last dimension.

    This holds under autocast too, where `torch.linalg.vecdot` rounds its factors and the sum to
    bfloat16. A log-likelihood of -60 nats would then have an error of up to a quarter of a nat, and
    learning signals, which are differences of log-likelihoods, would be mostly noise.

    Args:
        a: (..., D).
        b: (..., D), of the same type or another.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     dot(torch.tensor([1.0, 0.001]), torch.ones(2)).dtype
    torch.float32
    """
    a, b = at_least_single(a, b)
    with torch.autocast(a.device.type, enabled=False):
        return torch.linalg.vecdot(a, b)


def at_least_single(*numbers: Tensor) -> tuple[Tensor, ...]:
    """Numbers in the precision of the widest, and at least single, for sums over features.

    >>> [x.dtype for x in at_least_single(torch.ones(2, dtype=torch.bfloat16))]
    [torch.float32]
    """
    dtype = torch.float32
    for each in numbers:
        dtype = torch.promote_types(dtype, each.dtype)
    return tuple(each.to(dtype) for each in numbers)
