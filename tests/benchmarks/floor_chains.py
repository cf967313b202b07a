"""The floors of `dmm` and `srnn` trained by `elbo`; see floor.py.

What depends on no draws is computed for all frames at once, and so are prior and decoder given the
path; the loop over frames draws and keeps what it computes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from floor_vrnn import normal
from torch import Tensor, nn


class HandWrittenDMM(nn.Module):
    """A deep Markov model of bits with its smoothing guide, and minus the bound by one draw."""

    def __init__(
        self, dim: int, latent_dim: int, transition_dim: int, hidden_dim: int, layer_dim: int
    ) -> None:
        super().__init__()
        D, J, G, H, E = dim, latent_dim, transition_dim, hidden_dim, layer_dim
        self.first, self.gate, self.mean = nn.Linear(J, 2 * G), nn.Linear(G, J), nn.Linear(G, J)
        self.linear, self.scale = nn.Linear(J, J), nn.Linear(J, J)
        self.start = nn.Parameter(torch.zeros(J))
        self.decoder = nn.ModuleList([nn.Linear(J, H), nn.Linear(H, H), nn.Linear(H, D)])
        self.backward_cell = nn.GRU(D, E, batch_first=True)
        self.from_features, self.from_past = (
            nn.Linear(E, E, bias=False),
            nn.Linear(J, E, bias=False),
        )
        self.bias = nn.Parameter(torch.zeros(2, E))  # of the first frame, and of the others
        self.numbers = nn.Linear(E, 2 * J)

    def draw(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, their means and their scales, (B, T, J)."""
        size, length, _ = x.shape
        features = self.backward_cell(x.flip(1))[0].flip(1)
        bias = torch.cat([self.bias[:1], self.bias[1:].expand(length - 1, -1)])
        seen = (self.from_features(features) + bias).unbind(1)
        z = x.new_zeros(size, len(self.start))
        noise = torch.randn(length, *z.shape, dtype=x.dtype, device=x.device)
        path = []
        for t in range(length):
            hidden = (seen[t] + self.from_past(z)).tanh()
            mean, raw = self.numbers(hidden).chunk(2, -1)
            scale = F.softplus(raw) + 1e-3
            z = mean + scale * noise[t]
            path.append((z, mean, scale))
        z, mean, scale = (torch.stack(part, 1) for part in zip(*path, strict=True))
        return z, mean, scale

    def prior(self, z: Tensor) -> Tensor:
        """The log-probability of every frame's latents given those before, (B, T)."""
        before = torch.cat([self.start.expand(len(z), 1, -1), z[:, :-1]], 1)
        for_gate, for_mean = self.first(before).relu().chunk(2, -1)
        mean = self.mean(for_mean)
        middle = torch.lerp(self.linear(before), mean, self.gate(for_gate).sigmoid())
        return normal(z, middle, F.softplus(self.scale(mean.relu())) + 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Minus the bound per sequence, for x (B, T, D)."""
        z, mean, scale = self.draw(x)
        first, second, last = self.decoder
        logits = last(second(first(z).relu()).relu())
        log_x = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        return -(log_x + self.prior(z) - normal(z, mean, scale)).sum(1).mean()


class HandWrittenSRNN(nn.Module):
    """An SRNN of bits with its residual guide, and minus the bound by one draw."""

    def __init__(
        self, dim: int, latent_dim: int, hidden_dim: int, feature_dim: int, layer_dim: int
    ) -> None:
        super().__init__()
        D, J, H, E = dim, latent_dim, hidden_dim, feature_dim
        self.features_x = nn.Linear(D, E)
        self.cell = nn.GRU(E, H, batch_first=True)
        self.prior_first, self.prior_last = nn.Linear(J + H, E), nn.Linear(E, 2 * J)
        self.decoder, self.output = nn.Linear(J + H, E), nn.Linear(E, D)
        self.backward_cell = nn.GRU(H + E, layer_dim, batch_first=True)
        self.posterior_first, self.posterior_last = nn.Linear(J, E), nn.Linear(E, 2 * J)
        self.hidden_from_a = nn.Linear(layer_dim, E, bias=False)

    def draw(self, x: Tensor) -> tuple[Tensor, ...]:
        """States (B, T, H), latents, means and scales of guide and prior (B, T, J)."""
        (size, length, dim), latent = x.shape, self.posterior_first.in_features
        features = self.features_x(x).relu()
        blank = self.features_x(x.new_zeros(1, 1, dim)).relu().expand(size, -1, -1)
        d = self.cell(torch.cat([blank, features[:, :-1]], 1))[0]
        a = self.backward_cell(torch.cat([d, features], -1).flip(1))[0].flip(1)
        seen, states = self.hidden_from_a(a).unbind(1), d.unbind(1)
        z = x.new_zeros(size, latent)
        noise = torch.randn(length, *z.shape, dtype=x.dtype, device=x.device)
        path = []
        for t in range(length):
            own = self.prior_first(torch.cat([z, states[t]], -1)).relu()
            prior, prior_raw = self.prior_last(own).chunk(2, -1)
            hidden = (self.posterior_first(z) + seen[t]).relu()
            mean, raw = self.posterior_last(hidden).chunk(2, -1)
            mean, scale = prior + mean, F.softplus(raw) + 1e-3
            z = mean + scale * noise[t]
            path.append((z, mean, scale, prior, prior_raw))
        return d, *(torch.stack(part, 1) for part in zip(*path, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Minus the bound per sequence, for x (B, T, D)."""
        d, z, mean, scale, prior, raw = self.draw(x)
        logits = self.output(self.decoder(torch.cat([z, d], -1)).relu())
        log_x = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
        log_p = normal(z, prior, F.softplus(raw) + 1e-3)
        return -(log_x + log_p - normal(z, mean, scale)).sum(1).mean()
