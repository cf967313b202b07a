"""A-VRNN in plain Pyro: a critic on paths of latents in the place of the KL term."""

import click
import pyro
import torch
from pyro.distributions import Bernoulli, Normal
from pyro.infer import Trace_ELBO
from torch import cat, nn
from torch.nn.functional import softplus

from pyrodgm.networks.critics import clip_weights
from pyrodgm.objectives import CriticELBO, DistanceTerm

D, J, H, T = 12, 4, 16, 20


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.decoder = nn.GRUCell(D + J, H), nn.Linear(H + J, D)
        self.prior, self.posterior = nn.Linear(H, 2 * J), nn.Linear(H + D, 2 * J)

    def frames(self, x, latents, emission=None):
        h, z, before = x.new_zeros(len(x), H), x.new_zeros(len(x), J), torch.zeros_like(x[:, 0])
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                h = self.cell(cat([before, z], -1), h)
                mean, raw = latents(cat([h, x[:, t]], -1)).chunk(2, -1)
                z = pyro.sample(f"z_{t}", Normal(mean, softplus(raw) + 1e-3).to_event(1))
                before = x[:, t]
                if emission:
                    bits = Bernoulli(logits=emission(cat([h, z], -1)))
                    pyro.sample(f"x_{t}", bits.to_event(1), obs=before)

    def model(self, x):
        self.frames(x, lambda state: self.prior(state[:, :H]), self.decoder)

    def guide(self, x):
        self.frames(x, self.posterior)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.top = nn.LSTM(J, 128, batch_first=True), nn.Linear(128, 1)

    def forward(self, x, z):  # z is the whole path (B, T, J)
        return self.top(self.cell(z)[0][:, -1]).squeeze(-1)


@click.command()
@click.option("--steps", default=500)
def main(steps):
    torch.manual_seed(0)
    x = torch.bernoulli(0.1 + 0.8 * (torch.arange(T) // 5 % 2)[:, None].expand(64, T, D))
    net, critic = Net(), Critic()
    elbo = CriticELBO(DistanceTerm(critic), sites=["z"])
    turns = (elbo.reconstruction_loss, elbo.critic_loss, elbo.adversary_loss)
    parts = ([net.cell, net.decoder, net.posterior], [critic], [net.prior, net.posterior])
    weights = [nn.ModuleList(part).parameters() for part in parts]
    optimizers = [*map(torch.optim.RMSprop, weights, (1e-3, 5e-5, 5e-5))]
    for _ in range(steps):
        for loss, optimizer in zip(turns, optimizers, strict=True):
            optimizer.zero_grad()
            loss(net.model, net.guide, x).backward()
            optimizer.step()
        clip_weights(critic, 0.01)
    seen = elbo.reconstruction_loss(net.model, net.guide, x).item()
    bound = Trace_ELBO().loss(net.model, net.guide, x)  # which is not trained
    seen, bound = (-nats / x[..., 0].numel() for nats in (seen, bound))
    print(f"{seen:.3f} nats per frame of reconstruction, {bound:.3f} of the lower bound")


if __name__ == "__main__":
    main()
