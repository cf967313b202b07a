"""The floor of `dtsbn-d` and `recurrent-deterministic`; see floor.py."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from floor import Bits, HandWritten, bernoulli, biases, draw, lags, over_time, weight
from torch import Tensor, nn


def rectified(drive: Tensor, recurrent: Tensor) -> Tensor:
    """h_t = max(0, drive_t + recurrent h_{t-n:t-1}), (B, T, H), by plain autograd."""
    size, _, dim = drive.shape
    lag_weights = recurrent.T.split(dim)
    state = [drive.new_zeros(size, dim)] * len(lag_weights)
    path = []
    for now in drive.unbind(1):
        total = now
        for h, lag_weight in zip(state, lag_weights, strict=True):
            total = torch.addmm(total, h, lag_weight)
        state = [total.relu(), *state[:-1]]
        path.append(state[0])
    return torch.stack(path, 1)


class HandWrittenDTSBND(HandWritten):
    """TSBN of order n with a rectified recurrent layer of H units in p and another in q."""

    def __init__(self, frame: Bits, hidden_dim: int, layer_dim: int, order: int = 1) -> None:
        super().__init__(frame)
        self.order = order
        n, D, J, H = order, frame.dim, hidden_dim, layer_dim
        self.W1, self.b = weight(J, n * J), biases(n, J)
        self.W5, self.W6, self.W7 = weight(H, J), weight(H, n * H), weight(H, n * D)
        self.W2, self.W4 = weight(frame.size, H), weight(frame.size, n * D)
        self.U1, self.U4, self.U5 = weight(J, n * J), weight(J, H), weight(J, n * H)
        self.U23, self.U6 = weight(H, (n + 1) * D), weight(H, n * H)
        self.c, self.d = biases(n, frame.size), biases(n, J)
        self.a_p, self.a_q = nn.Parameter(torch.zeros(H)), nn.Parameter(torch.zeros(H))

    def trace(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The guide's rectified units, its path, and then the model's."""
        n, length = self.order, x.shape[1]
        window = torch.cat([y, lags(y, n)], -1)
        y_past = window[..., self.frame.dim :]
        g = rectified(F.linear(window, self.U23, self.a_q), self.U6)
        drive = F.linear(g, self.U4) + F.linear(lags(g, n), self.U5) + over_time(self.d, length)
        z = draw(drive, self.U1)
        z_past = lags(z, n)
        log_q = bernoulli(drive + F.linear(z_past, self.U1), z)
        log_p = bernoulli(F.linear(z_past, self.W1) + over_time(self.b, length), z)
        h = rectified(F.linear(z, self.W5, self.a_p) + F.linear(y_past, self.W7), self.W6)
        numbers = F.linear(h, self.W2) + F.linear(y_past, self.W4) + over_time(self.c, length)
        return [z], log_p + self.frame.log_prob(numbers, x), log_q
