"""The learning signal of score gradients: discounted costs from a frame on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

Signal = Literal["future", "local"] | Annotated[float, Field(ge=0, le=1)]


def discount_of(signal: Signal) -> float:
    """The discount of a signal: 1 for "future", 0 for "local", or the number itself."""
    return {"future": 1.0, "local": 0.0}[signal] if isinstance(signal, str) else float(signal)


def reward_to_go(cost: Tensor, discount: float = 1.0) -> Tensor:
    r"""Discounted sum of the costs from every frame on.

    .. math:: s_t = \sum_{u \ge t} \gamma^{u - t} \, l_u

    Args:
        cost: cost of every frame, (..., T).
        discount: :math:`\gamma` in [0,1]; 1 counts all later frames, 0 only the frame itself.

    Computed by doubling: after k passes every sum has 2^k terms, so T frames take log2 T passes.

    >>> import torch
    >>> reward_to_go(torch.tensor([1.0, 2.0, 3.0]))
    tensor([6., 5., 3.])
    >>> reward_to_go(torch.tensor([1.0, 2.0, 3.0]), 0.5)
    tensor([2.7500, 3.5000, 3.0000])
    """
    total, reach = cost.clone(), 1
    while reach < cost.shape[-1] and discount**reach > 0:
        total[..., :-reach] += discount**reach * total[..., reach:].clone()
        reach *= 2
    return total
