"""Recurrences without noise, for one frame and for all frames at once; see `pyrodgm.past.Cell`."""

from __future__ import annotations

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.past import Cell, scan

CellName = Literal["gru", "lstm", "relu"]


@final
class ReLUCell(nn.Module):
    r"""Rectified units with n lags of themselves.

    .. math:: h_t = \max(0, d_t + U h_{t-n:t-1})

    Args:
        dim: units H; the drive d has as many.
        history: lags n.
        init_scale: standard deviation of the initial weights.
    """

    def __init__(self, dim: int, history: int = 1, init_scale: float = 0.01) -> None:
        super().__init__()
        self.dim = dim
        self.state_dim = history * dim
        self.recurrent = nn.Linear(history * dim, dim, bias=False)
        nn.init.normal_(self.recurrent.weight, std=init_scale)

    def forward(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state, the newest output first."""
        output = F.relu(drive + self.recurrent(state))
        if self.state_dim == self.dim:
            return output
        return torch.cat([output, state[..., : -self.dim].expand(*output.shape[:-1], -1)], -1)

    def outputs(self, drive: Tensor) -> Tensor:
        """The outputs of all frames, (..., T, H)."""
        return scan(self, drive)[..., : self.dim]


@final
class GRUCell(nn.Module):
    """A gated recurrent unit.

    Args:
        input_dim: size of its input E.
        dim: units H.

    Reference: Cho et al., Learning phrase representations using RNN encoder-decoder, 2014, in the
    form of `torch.nn.GRU`.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = self.state_dim = dim
        self.network = nn.GRU(input_dim, dim, batch_first=True)

    def forward(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state, (..., H)."""
        n = self.network
        reset, update, new = F.linear(drive, n.weight_ih_l0, n.bias_ih_l0).chunk(3, -1)
        old_reset, old_update, old_new = F.linear(state, n.weight_hh_l0, n.bias_hh_l0).chunk(3, -1)
        update = (update + old_update).sigmoid()
        proposal = (new + (reset + old_reset).sigmoid() * old_new).tanh()
        return proposal + update * (state - proposal)

    def outputs(self, drive: Tensor) -> Tensor:
        """The outputs of all frames, (..., T, H), by torch's own loop."""
        return _over_time(self.network, drive)


@final
class LSTMCell(nn.Module):
    """Long short-term memory; its state holds the output and then the memory.

    Args:
        input_dim: size of its input E.
        dim: units H.

    Reference: Hochreiter and Schmidhuber, Long short-term memory, 1997, in the form of
    `torch.nn.LSTM`.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.dim, self.state_dim = dim, 2 * dim
        self.network = nn.LSTM(input_dim, dim, batch_first=True)

    def forward(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state, (..., 2 H)."""
        n = self.network
        output, memory = state.chunk(2, -1)
        gates = F.linear(drive, n.weight_ih_l0, n.bias_ih_l0)
        gates = gates + F.linear(output, n.weight_hh_l0, n.bias_hh_l0)
        enter, forget, new, leave = gates.chunk(4, -1)
        memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
        return torch.cat([leave.sigmoid() * memory.tanh(), memory], -1)

    def outputs(self, drive: Tensor) -> Tensor:
        """The outputs of all frames, (..., T, H), by torch's own loop."""
        return _over_time(self.network, drive)


def make_cell(name: CellName, input_dim: int, dim: int) -> Cell:
    """The recurrence of a name; "relu" gets a linear map of its input in front.

    Args:
        name: "gru", "lstm" or "relu".
        input_dim: size of its input E.
        dim: units H.
    """
    if name == "relu":
        return DrivenReLU(input_dim, dim)
    return (GRUCell if name == "gru" else LSTMCell)(input_dim, dim)


@final
class DrivenReLU(nn.Module):
    """Rectified units driven by a linear map of the input, started as the identity.

    Args:
        input_dim: size of its input E.
        dim: units H.

    Reference: Le, Jaitly and Hinton, A simple way to initialize recurrent networks of rectified
    linear units, 2015.
    """

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.dim = self.state_dim = dim
        self.drive = nn.Linear(input_dim, dim)
        self.cell = ReLUCell(dim)
        nn.init.eye_(self.cell.recurrent.weight)

    def forward(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state, (..., H)."""
        return self.cell(self.drive(drive), state)

    def outputs(self, drive: Tensor) -> Tensor:
        """The outputs of all frames, (..., T, H)."""
        return scan(self.cell, self.drive(drive))


def _over_time(network: nn.GRU | nn.LSTM, drive: Tensor) -> Tensor:
    """A torch recurrence over (..., T, E) with any leading dimensions."""
    outputs = network(drive.reshape(-1, *drive.shape[-2:]))[0]
    return outputs.reshape(*drive.shape[:-1], outputs.shape[-1])
