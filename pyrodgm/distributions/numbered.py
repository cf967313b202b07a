"""Vectors of bits by their number among all of their length, which Pyro can enumerate."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.errors import CompatibilityError

MOST_BITS = 12  # that are enumerated: 4096 vectors, 17 million pairs of one frame and the next


def bit_vectors(dim: int, like: Tensor | None = None) -> Tensor:
    """All vectors of J bits in the order of their numbers, (2^J, J), the first bit the highest.

    Args:
        dim: bits J.
        like: gives dtype and device.

    >>> bit_vectors(2).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    device = None if like is None else like.device
    places = torch.arange(dim - 1, -1, -1, device=device)
    bits = (torch.arange(2**dim, device=device)[:, None] >> places) & 1
    return bits.to(torch.get_default_dtype() if like is None else like.dtype)


def is_bits(law: TorchDistribution) -> bool:
    """Whether an event is a vector of bits."""
    support: Any = law.support
    return law.event_dim == 1 and getattr(support, "base_constraint", None) is constraints.boolean


def numbered(law: TorchDistribution, like: Tensor) -> dist.Categorical:
    """The number of a vector of bits that is distributed by a law.

    Args:
        law: of vectors of J bits.
        like: gives dtype and device.

    Raises:
        CompatibilityError: there are too many vectors.

    >>> law = dist.Bernoulli(torch.tensor([0.5, 0.9])).to_event(1)
    >>> [round(p, 2) for p in numbered(law, torch.ones(())).probs.tolist()]  # 00, 01, 10, 11
    [0.05, 0.45, 0.05, 0.45]
    """
    dim = law.event_shape[0]
    if dim > MOST_BITS:
        raise CompatibilityError(
            f"vectors of {dim} bits have 2^{dim} values, and at most 2^{MOST_BITS} are enumerated"
        )
    vectors = bit_vectors(dim, like=like)
    nats = law.log_prob(vectors.view(-1, *[1] * len(law.batch_shape), dim))
    return dist.Categorical(logits=nats.movedim(0, -1), validate_args=False)
