"""Bit vectors as whole numbers, which Pyro can enumerate."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.errors import CompatibilityError

MOST_BITS = 12  # limit of enumeration: 4096 vectors, 17 million pairs of successive frames


def bit_vectors(dim: int, like: Tensor | None = None) -> Tensor:
    """All vectors of J bits in the order of their numbers, (2^J, J), the most significant first.

    Args:
        dim: bits J.
        like: tensor with the dtype and device of the result.

    >>> bit_vectors(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    device = None if like is None else like.device
    places = torch.arange(dim - 1, -1, -1, device=device)
    bits = (torch.arange(2**dim, device=device)[:, None] >> places) & 1
    return bits.to(torch.get_default_dtype() if like is None else like.dtype)


def is_bits(distribution: TorchDistribution) -> bool:
    """Whether an event is a vector of bits."""
    support: Any = distribution.support
    return (
        distribution.event_dim == 1
        and getattr(support, "base_constraint", None) is constraints.boolean
    )


def numbered(distribution: TorchDistribution, like: Tensor) -> dist.Categorical:
    """The distribution of the number of a bit vector.

    Args:
        distribution: of vectors of J bits.
        like: tensor with the dtype and device of the result.

    Raises:
        CompatibilityError: there are too many vectors.

    >>> bits = dist.Bernoulli(torch.tensor([0.5, 0.9])).to_event(1)
    >>> [round(p, 2) for p in numbered(bits, torch.ones(())).probs.tolist()]  # 00, 01, 10, 11
    [0.05, 0.45, 0.05, 0.45]
    """
    dim = distribution.event_shape[0]
    if dim > MOST_BITS:
        raise CompatibilityError(
            f"vectors of {dim} bits have 2^{dim} values; at most 2^{MOST_BITS} can be enumerated"
        )
    vectors = bit_vectors(dim, like=like)
    nats = distribution.log_prob(vectors.view(-1, *[1] * len(distribution.batch_shape), dim))
    return dist.Categorical(logits=nats.movedim(0, -1), validate_args=False)
