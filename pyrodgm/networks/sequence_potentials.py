"""Potentials of whole sequences: sums over frames of what networks over time compute."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.networks.backward import backward_outputs
from pyrodgm.networks.cells import GRUCell
from pyrodgm.networks.mlp import relu_network

PotentialName = Literal["recurrent", "bidirectional", "conv", "features"]


@final
class RecurrentPotential(nn.Module):
    r"""Rectified layers over a recurrence, or over one in each direction.

    .. math:: u(v) = \sum_t f(h_t, b_t), \qquad
        h_t = \mathrm{GRU}(v_t, h_{t-1}), \quad b_t = \mathrm{GRU}(v_t, b_{t+1})

    Args:
        dim: features of a frame E.
        sizes: units of each recurrence, then of the rectified layers of f.
        both: whether there is a recurrence from the end to the start too.
        dropout: share of units of the recurrences dropped at random in training.
    """

    def __init__(self, dim: int, sizes: tuple[int, ...], *, both: bool, dropout: float) -> None:
        super().__init__()
        first, *above = sizes
        self.forwards = GRUCell(dim, first)
        self.backwards = GRUCell(dim, first) if both else None
        self.dropout = dropout
        self.network = relu_network((1 + both) * first, tuple(above), 1, bias=False)
        nn.init.zeros_(self.network[-1].get_parameter("weight"))

    def forward(self, v: Tensor, batch: Batch) -> Tensor:
        """Of features (B, T, E), (B,)."""
        outputs = self.forwards.outputs(v)
        if self.backwards is not None:
            outputs = torch.cat([outputs, backward_outputs(self.backwards, v, batch)], -1)
        outputs = F.dropout(outputs, self.dropout, self.training)
        return _summed(self.network(outputs).squeeze(-1), batch)


@final
class ConvolutionalPotential(nn.Module):
    r"""Convolutions over time with rectified units, and a sum over frames.

    .. math:: u(v) = \sum_t a^\top h^L_t, \qquad
        h^i_t = \mathrm{relu}\Big(\sum_{|k| \le n} C^i_k h^{i-1}_{t+k} + c^i\Big), \quad h^0_t = v_t

    Frames before the first and after the last are zero in every layer.

    Args:
        dim: features of a frame E.
        sizes: channels of every layer.
        history: frames on each side n.
        dropout: share of channels of the last layer dropped at random in training.
    """

    def __init__(self, dim: int, sizes: tuple[int, ...], *, history: int, dropout: float) -> None:
        super().__init__()
        width = 2 * history + 1
        self.layers = nn.ModuleList(
            nn.Conv1d(below, above, width, padding=history)
            for below, above in pairwise((dim, *sizes))
        )
        self.dropout = dropout
        self.last = nn.Linear(sizes[-1], 1, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, v: Tensor, batch: Batch) -> Tensor:
        """Of features (B, T, E), (B,)."""
        h, inside = v.mT, batch.mask[:, None]
        for layer in self.layers:
            h = F.relu(layer(h.masked_fill(~inside, 0.0)))
        h = F.dropout(h, self.dropout, self.training)
        return _summed(self.last(h.mT).squeeze(-1), batch)


@final
class PairFeatures(nn.Module):
    r"""A linear function of the frames of a sequence and of products of two features.

    .. math:: u(v) = a_1^\top v_1 + a_T^\top v_T + \sum_t a^\top v_t
        + \sum_{k=0}^{n} \sum_{t > k} v_{t-k}^\top A_k v_t

    For symbols, whose features are one-hot, k = 1 are bigrams, and k > 1 pairs with k - 1 symbols
    in between. As a function of the weights it is linear, so that the log-likelihood is concave.

    Args:
        dim: features of a frame E.
        history: largest distance of a pair n.
    """

    def __init__(self, dim: int, *, history: int) -> None:
        super().__init__()
        self.single = nn.Parameter(torch.zeros(dim))
        self.first = nn.Parameter(torch.zeros(dim))
        self.last = nn.Parameter(torch.zeros(dim))
        self.pairs = nn.Parameter(torch.zeros(history + 1, dim, dim))

    def forward(self, v: Tensor, batch: Batch) -> Tensor:
        """Of features (B, T, E), (B,)."""
        v = v.masked_fill(~batch.mask[..., None], 0.0)
        end = (batch.lengths - 1)[:, None, None].expand(-1, 1, v.shape[-1])
        total = v[:, 0] @ self.first + v.gather(1, end).squeeze(1) @ self.last
        total = total + v.sum(1) @ self.single
        for k, weight in enumerate(self.pairs[: batch.length]):
            total = total + ((v[:, : batch.length - k] @ weight) * v[:, k:]).sum((1, 2))
        return total


def make_potential(
    name: PotentialName, dim: int, sizes: tuple[int, ...], *, history: int, dropout: float
) -> nn.Module:
    """The potential with a name; it is zero for every sequence until it learns.

    Args:
        name: "recurrent", "bidirectional", "conv" or "features".
        dim: features of a frame E.
        sizes: units or channels of every layer, the first next to the frames; not of "features".
        history: of "conv", frames on each side; of "features", largest distance of a pair.
        dropout: share of units dropped at random in training; not of "features".
    """
    if name == "conv":
        return ConvolutionalPotential(dim, sizes, history=history, dropout=dropout)
    if name == "features":
        return PairFeatures(dim, history=history)
    return RecurrentPotential(dim, sizes, both=name == "bidirectional", dropout=dropout)


def _summed(frames: Tensor, batch: Batch) -> Tensor:
    """The sum over the frames of every sequence, (B,), of numbers (B, T)."""
    return frames.masked_fill(~batch.mask, 0.0).sum(-1)
