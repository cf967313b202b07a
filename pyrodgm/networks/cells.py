"""Recurrences without noise, for one frame and for all frames; see `pyrodgm.engine.cells.Cell`."""

from __future__ import annotations

from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyrodgm.engine.cells import Cell, scan
from pyrodgm.lags import lagged

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

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The outputs of all frames, (..., T, H)."""
        flat = drive.reshape(-1, *drive.shape[-2:])
        first = None if start is None else _rows(start)
        return _ReLUScan.apply(flat, self.recurrent.weight, first).view(drive.shape)

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames, (..., T, n H)."""
        outputs = self.outputs(drive, start)
        before = None if start is None else start.unflatten(-1, (-1, self.dim))
        return torch.cat([outputs, lagged(outputs, self.state_dim // self.dim - 1, before)], -1)


class _ReLUScan(torch.autograd.Function):
    """The recurrence over (N, T, H), whose weight gradient is one product and not T of them."""

    @staticmethod
    def forward(ctx: Any, drive: Tensor, weight: Tensor, start: Tensor | None) -> Tensor:
        size, length, dim = drive.shape
        lags = weight.shape[1] // dim
        if torch.is_autocast_enabled(drive.device.type):
            drive = drive.to(torch.get_autocast_dtype(drive.device.type))
        # Oldest first, so that the state of a frame is a slice of what came before it.
        moved = weight.to(drive.dtype).unflatten(1, (lags, dim)).flip(1).flatten(1).T
        path = drive.new_zeros(size, lags + length, dim)
        if start is not None:
            path[:, :lags] = start.unflatten(-1, (lags, dim)).flip(1)
        for t in range(length):
            state = path[:, t : t + lags].flatten(1)
            torch.clamp(torch.addmm(drive[:, t], state, moved), min=0, out=path[:, t + lags])
        ctx.save_for_backward(path, moved)
        ctx.weight_dtype = weight.dtype
        return path[:, lags:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        path, moved = ctx.saved_tensors
        grad = grads[0]
        size, length, dim = grad.shape
        lags = path.shape[1] - length
        # The gradient of frame t comes from t + 1, ..., t + n: a block for each lag, in that order.
        back = moved.T.unflatten(1, (lags, dim)).flip(1).transpose(0, 1).flatten(0, 1)
        delta = path.new_zeros(size, length + lags, dim)
        on = path[:, lags:] > 0
        for t in reversed(range(length)):
            later = delta[:, t + 1 : t + 1 + lags].flatten(1)
            torch.mul(
                torch.addmm(grad[:, t].to(path.dtype), later, back), on[:, t], out=delta[:, t]
            )
        delta = delta[:, :length]
        states = path.unfold(1, lags, 1)[:, :length].transpose(2, 3).flatten(2)
        for_weight = (delta.reshape(-1, dim).T @ states.reshape(-1, lags * dim)).to(
            ctx.weight_dtype
        )
        return delta, for_weight.unflatten(1, (lags, dim)).flip(1).flatten(1), None


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
        drive, state = _alike(drive, state)
        if drive.dim() == 2:  # a frame of a single draw: the usual case in a loop
            return torch.gru_cell(drive, _rows(state), *_weights(self.network))
        moved = torch.gru_cell(_rows(drive), _rows(state), *_weights(self.network))
        return moved.view(state.shape)

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The outputs of all frames, (..., T, H), by torch's own loop."""
        return _over_time(self.network, drive, None if start is None else _rows(start)[None])

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames, which are the outputs."""
        return self.outputs(drive, start)


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
        drive, state = _alike(drive, state)
        before = [half.contiguous() for half in _rows(state).chunk(2, -1)]
        moved = torch.lstm_cell(_rows(drive), before, *_weights(self.network))
        return torch.cat(moved, -1).view(state.shape)

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The outputs of all frames, (..., T, H), by torch's own loop."""
        if start is None:
            return _over_time(self.network, drive)
        output, memory = (half.contiguous() for half in _rows(start)[None].chunk(2, -1))
        return _over_time(self.network, drive, (output, memory))

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames, (..., T, 2 H); torch's loop does not give the memory."""
        return scan(self, drive, start)


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

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The outputs of all frames, (..., T, H)."""
        return self.cell.outputs(self.drive(drive), start)

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames, which are the outputs."""
        return self.outputs(drive, start)


def _alike(drive: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the same leading dimensions."""
    if drive.shape[:-1] == state.shape[:-1]:
        return drive, state
    leading = torch.broadcast_shapes(drive.shape[:-1], state.shape[:-1])
    return drive.expand(*leading, drive.shape[-1]), state.expand(*leading, state.shape[-1])


def _rows(value: Tensor) -> Tensor:
    """All leading dimensions as one."""
    return value.reshape(-1, value.shape[-1])


def _weights(network: nn.GRU | nn.LSTM) -> list[Any]:
    """The weights of its only layer, in the order that torch's functions take them."""
    return network._flat_weights


def _over_time(network: nn.GRU | nn.LSTM, drive: Tensor, start: Any = None) -> Tensor:
    """A torch recurrence over (..., T, E) with any leading dimensions."""
    outputs = network(drive.reshape(-1, *drive.shape[-2:]), start)[0]
    return outputs.reshape(*drive.shape[:-1], outputs.shape[-1])
