"""The distribution of the lengths of sequences, and log normalisers by length."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch


@final
class Lengths(nn.Module):
    r"""A distribution of the number of frames of a sequence, from counts with one more observation.

    .. math:: \pi_l = \frac{n_l + 1 / L}{n + 1}, \qquad l = 1, \dots, L

    where :math:`n_l` of n training sequences have l frames. The one more observation is spread
    evenly over all lengths, so that none has probability zero. Without training data all lengths
    are equally probable.

    Args:
        longest: L.

    >>> lengths = Lengths(2)
    >>> lengths.count(np.array([1, 1, 1]))
    >>> lengths(torch.tensor([1, 2, 3])).exp().tolist()
    [0.875, 0.125, 0.0]
    """

    log_probs: Tensor

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.register_buffer("log_probs", torch.full((longest,), 1 / longest).log())

    def count(self, lengths: np.ndarray) -> None:
        """Set the probabilities from the lengths of the training sequences, (N,)."""
        counts = np.bincount(lengths, minlength=self.longest + 1)[1:]
        probs = (counts + 1 / self.longest) / (len(lengths) + 1)
        self.log_probs.copy_(torch.from_numpy(np.log(probs)))

    def forward(self, lengths: Tensor) -> Tensor:
        """Log-probabilities of lengths, whole numbers of any shape; minus infinity beyond L."""
        known = self.log_probs[lengths.clamp(max=self.longest) - 1]
        return known.masked_fill(lengths > self.longest, -torch.inf)

    def draw(self, num: int) -> Tensor:
        """Independent lengths, (num,)."""
        return 1 + self.log_probs.exp().multinomial(num, replacement=True)


class LogNormaliser(nn.Module):
    """A learned log normaliser of every frame, one number for all.

    Args:
        start: initial value, in nats.
    """

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(start))

    def forward(self, batch: Batch) -> Tensor:
        """Log Z by frame, (B, T), in nats."""
        return self.level.expand(batch.mask.shape)


@final
class LogNormaliserOfSequences(LogNormaliser):
    """A learned log normaliser of every sequence, one number for all."""

    def forward(self, batch: Batch) -> Tensor:
        """Log Z of the sequence at its first frame, and zero at the others, (B, T), in nats."""
        return at_first_frame(self.level.expand(batch.size), batch.length)


@final
class LogNormaliserByLength(nn.Module):
    r"""Learned log normalisers of sequences, one number for every length.

    .. math:: \zeta_l = s l + a + b \, l / m + c_l, \qquad c_l = 0 \text{ for } l > L

    with m the mean length and s the initial value of every frame. The line is shared by all
    lengths, so that it is learned fast; it is the normaliser of lengths beyond L.

    Args:
        longest: L.
        mean: m.
        per_frame: s, in nats.
    """

    def __init__(self, longest: int, mean: float, per_frame: float = 0.0) -> None:
        super().__init__()
        self.longest, self.mean, self.per_frame = longest, mean, per_frame
        self.level = nn.Parameter(torch.zeros(()))
        self.slope = nn.Parameter(torch.zeros(()))
        self.own = nn.Parameter(torch.zeros(longest))

    def of(self, lengths: Tensor) -> Tensor:
        """Log Z of sequences of some lengths, of the same shape, in nats."""
        own = self.own[lengths.clamp(max=self.longest) - 1].where(lengths <= self.longest, 0.0)
        return self.level + self.slope * (lengths / self.mean) + self.per_frame * lengths + own

    def forward(self, batch: Batch) -> Tensor:
        """Log Z of the sequence at its first frame, and zero at the others, (B, T), in nats."""
        return at_first_frame(self.of(batch.lengths), batch.length)


def at_first_frame(of_sequences: Tensor, length: int) -> Tensor:
    """Numbers of whole sequences, (..., B), at their first frame and zero at the others.

    >>> at_first_frame(torch.tensor([3.0, 4.0]), 3)
    tensor([[3., 0., 0.],
            [4., 0., 0.]])
    """
    return F.pad(of_sequences[..., None], (0, length - 1))
