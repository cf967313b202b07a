"""Draws from a multinomial distribution at a cost that does not grow with its total."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def multinomial(total: int, probs: Tensor) -> Tensor:
    r"""Counts of N tokens of D kinds, (..., D), in the type of the probabilities.

    The set of kinds is halved recursively. The count of a set S is split between its halves L and R
    by one binomial draw:

    .. math:: n_L \mid n_S \sim \mathrm{Binomial}\Big(n_S, \frac{p_L}{p_L + p_R}\Big), \qquad
        n_R = n_S - n_L

    This takes D - 1 binomial draws in log D rounds and memory for a few times D numbers, for any N.
    If N is at most D, the tokens themselves are drawn and counted.

    Args:
        total: tokens N.
        probs: of each kind, (..., D), normalised.

    Reference: Davis, The computer generation of multinomial random variates, 1993, draws the same
    conditional binomials one kind after the other.

    >>> bool((multinomial(10**9, torch.full((3, 5), 0.2).double()).sum(-1) == 10**9).all())
    True
    """
    kinds = probs.shape[-1]
    if total <= kinds:
        return _counted(total, probs)
    # Single precision holds whole numbers up to 2^24 and rounds the shares of rare kinds.
    levels = [F.pad(probs.double(), (0, (1 << (kinds - 1).bit_length()) - kinds))]
    while levels[-1].shape[-1] > 1:
        levels.append(levels[-1].unflatten(-1, (-1, 2)).sum(-1))
    counts = torch.full_like(levels.pop(), total)
    for level in reversed(levels):
        halves = level.unflatten(-1, (-1, 2))
        share = halves[..., 0] / halves.sum(-1).clamp(min=torch.finfo(level.dtype).tiny)
        left = torch.binomial(counts, share)
        counts = torch.stack([left, counts - left], -1).flatten(-2)
    return counts[..., :kinds].to(probs.dtype)


def _counted(total: int, probs: Tensor) -> Tensor:
    """Every token drawn, and counted."""
    rows = probs.reshape(-1, probs.shape[-1])
    tokens = torch.multinomial(rows, total, replacement=True)
    ones = torch.ones_like(tokens, dtype=probs.dtype)
    return torch.zeros_like(rows).scatter_add_(-1, tokens, ones).view(probs.shape)
