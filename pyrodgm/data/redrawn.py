"""Grey values whose bits are drawn anew for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.sequences import Sequences


class RedrawnBits(Sequences):
    r"""Sequences of bits :math:`x \sim \mathrm{Bernoulli}(g)` that are new in every batch.

    This is the dynamic binarisation of training data: a picture is other bits every time, so that
    models overfit later. Draws come from torch's global generator, whose state belongs to a
    checkpoint.

    Args:
        bits: drawn once, for what looks at the data without a batch.
        grey: their probabilities g, (sum of lengths, D).

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, section 5.

    >>> bits = Sequences(np.array([[0, 1]], np.uint8), np.array([1]))
    >>> RedrawnBits(bits, torch.tensor([[1.0, 1.0]])).batch([0]).x.tolist()
    [[[1.0, 1.0]]]
    """

    def __init__(self, bits: Sequences, grey: Tensor) -> None:
        vars(self).update(vars(bits))
        self.grey = grey

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The given rows with new bits; see `Sequences.batch`."""
        batch = super().batch(rows)
        frames, mask = self._frames(np.asarray(rows, dtype=np.int64))
        x = torch.bernoulli(self.grey[frames].to(batch.x))
        return replace(batch, x=x.masked_fill_(~mask[..., None], 0))

    def _taken(self, places: np.ndarray, lengths: np.ndarray) -> RedrawnBits:
        """Sequences of the frames at some places."""
        chosen = super()._taken(places, lengths)
        return RedrawnBits(chosen, self.grey[torch.from_numpy(places)])
