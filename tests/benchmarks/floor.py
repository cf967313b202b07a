"""The floor: one TSBN step with NVIL written by hand in PyTorch, as fast as plain torch allows.

Same model, guide and estimator as the library's `tsbn` and `nvil` at order 1, without Pyro and
without masks. Nothing in the library imports this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HandWrittenTSBN(nn.Module):
    """TSBN of order 1 with D visible and J hidden units, NVIL with a tanh baseline."""

    def __init__(self, dim: int, hidden_dim: int, baseline_dim: int = 100) -> None:
        super().__init__()
        J, D, s = hidden_dim, dim, 0.01
        self.W1 = nn.Parameter(s * torch.randn(J, J))
        self.W2 = nn.Parameter(s * torch.randn(D, J))
        self.W3 = nn.Parameter(s * torch.randn(J, D))
        self.W4 = nn.Parameter(s * torch.randn(D, D))
        self.U1 = nn.Parameter(s * torch.randn(J, J))
        self.U2 = nn.Parameter(s * torch.randn(J, D))
        self.U3 = nn.Parameter(s * torch.randn(J, D))
        self.b, self.b1 = nn.Parameter(torch.zeros(J)), nn.Parameter(torch.zeros(J))
        self.c, self.c1 = nn.Parameter(torch.zeros(D)), nn.Parameter(torch.zeros(D))
        self.d, self.d1 = nn.Parameter(torch.zeros(J)), nn.Parameter(torch.zeros(J))
        self.baseline = nn.Sequential(
            nn.Linear(D, baseline_dim), nn.Tanh(), nn.Linear(baseline_dim, 1)
        )
        self.mean, self.variance = torch.tensor(0.0), torch.tensor(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Surrogate loss for x (B, T, D)."""
        B, T, _ = x.shape
        x_past = F.pad(x[:, :-1], (0, 0, 1, 0))
        first = (torch.arange(T) == 0).float()[:, None]
        inputs = F.linear(x, self.U2) + F.linear(x_past, self.U3)
        inputs = inputs + first * self.d1 + (1 - first) * self.d
        with torch.no_grad():
            noise = torch.rand(T, B, self.W1.shape[0]).logit_()
            z, path = torch.zeros(B, self.W1.shape[0]), []
            for t in range(T):
                z = (inputs[:, t] + F.linear(z, self.U1) > noise[t]).float()
                path.append(z)
            z = torch.stack(path, 1)
        z_past = F.pad(z[:, :-1], (0, 0, 1, 0))
        logits_q = inputs + F.linear(z_past, self.U1)
        logits_z = F.linear(z_past, self.W1) + F.linear(x_past, self.W3)
        logits_z = logits_z + first * self.b1 + (1 - first) * self.b
        logits_x = F.linear(z, self.W2) + F.linear(x_past, self.W4)
        logits_x = logits_x + first * self.c1 + (1 - first) * self.c
        log_q, log_pz, log_px = (
            -F.binary_cross_entropy_with_logits(l, v, reduction="none").sum(-1)
            for l, v in ((logits_q, z), (logits_z, z), (logits_x, x))
        )
        log_p = log_pz + log_px
        cost = (log_p - log_q).detach()
        predicted = self.baseline(x).squeeze(-1)
        left = cost - predicted.detach() - self.mean
        signal = left.flip(-1).cumsum(-1).flip(-1)
        scale = self.variance.sqrt().clamp(min=1)
        surrogate = (log_p + signal / scale * log_q).sum(1).mean()
        fit = (cost - self.mean - predicted).square().sum(1).mean()
        self.mean = 0.8 * self.mean + 0.2 * (cost - predicted.detach()).mean()
        self.variance = 0.8 * self.variance + 0.2 * signal.var()
        return fit - surrogate
