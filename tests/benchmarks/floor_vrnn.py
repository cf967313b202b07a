"""The floor of `vrnn` trained by `elbo`; see floor.py.

The loop over frames draws and keeps what it computes; prior and decoder see all frames at once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HandWrittenVRNN(nn.Module):
    """A VRNN of bits with its guide, and minus the evidence lower bound by one draw."""

    def __init__(self, dim: int, latent_dim: int, hidden_dim: int, feature_dim: int) -> None:
        super().__init__()
        D, J, H, E = dim, latent_dim, hidden_dim, feature_dim
        self.features_x, self.features_z = nn.Linear(D, E), nn.Linear(J, E)
        self.cell = nn.GRUCell(2 * E, H)
        self.prior_first, self.prior_last = nn.Linear(H, E), nn.Linear(E, 2 * J)
        self.decoder, self.output = nn.Linear(H + E, E), nn.Linear(E, D)
        self.posterior_first, self.posterior_last = nn.Linear(H, E), nn.Linear(E, 2 * J)
        self.hidden_from_x = nn.Linear(E, E, bias=False)

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """States (B, T, H), latents, their means and scales (B, T, J)."""
        (size, length, dim), latent = x.shape, self.features_z.in_features
        features = self.features_x(x).relu()
        blank = self.features_x(x.new_zeros(1, 1, dim)).relu().expand(size, -1, -1)
        before = torch.cat([blank, features[:, :-1]], 1).unbind(1)
        now = self.hidden_from_x(features).unbind(1)
        noise = torch.randn(length, size, latent, dtype=x.dtype, device=x.device)
        h, z = x.new_zeros(size, self.cell.hidden_size), x.new_zeros(size, latent)
        path = []
        for t in range(length):
            h = self.cell(torch.cat([self.features_z(z).relu(), before[t]], -1), h)
            hidden = (self.posterior_first(h) + now[t]).relu()
            mean, raw = self.posterior_last(hidden).chunk(2, -1)
            scale = F.softplus(raw) + 1e-3
            z = mean + scale * noise[t]
            path.append((h, z, mean, scale))
        h, z, mean, scale = (torch.stack(part, 1) for part in zip(*path, strict=True))
        return h, z, mean, scale

    def forward(self, x: Tensor) -> Tensor:
        """Minus the bound per sequence, for x (B, T, D)."""
        h, z, mean, scale = self.draw(x)
        prior_mean, raw = self.prior_last(self.prior_first(h).relu()).chunk(2, -1)
        prior = normal(z, prior_mean, F.softplus(raw) + 1e-3)
        features = torch.cat([h, self.features_z(z).relu()], -1)
        logits = self.output(self.decoder(features).relu())
        log_x = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return -(log_x + prior - normal(z, mean, scale)).sum(1).mean()


def normal(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    error = (z - mean) / scale
    constant = 0.5 * math.log(2 * math.pi) * z.shape[-1]
    return -0.5 * error.square().sum(-1) - scale.log().sum(-1) - constant
