"""Adversarial variational Bayes in plain Pyro: a guide without a density, scored by a critic.

The four one-hot rows of the paper, and a guide that computes two latents from a row and noise.
"""

from __future__ import annotations

import math

import click
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI
from torch import nn

from pyrodgm.evaluate.likelihood.quadrature import log_integral
from pyrodgm.objectives import CriticELBO, CriticTerm

D, J, NOISE, HIDDEN = 4, 2, 16, 128


def network(inputs, outputs):
    hidden = [nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, outputs))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = network(J, D), network(D + NOISE, J)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(J), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            standard = dist.Normal(x.new_zeros(NOISE), 1.0).to_event(1)
            noise = pyro.sample("noise", standard, infer={"is_auxiliary": True})
            z = self.encoder(torch.cat([x, noise], -1))
            pyro.sample("z", dist.Delta(z).to_event(1))

    def log_joint(self, z, x):
        log_prior = dist.Normal(0.0, 1.0).log_prob(z).sum(-1, keepdim=True)
        return log_prior + dist.Bernoulli(logits=self.decoder(z)[:, None]).log_prob(x).sum(-1)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network(D + J, 1)

    def forward(self, x, z):
        return self.network(torch.cat([x, z], -1)).squeeze(-1)


@click.command()
@click.option("--steps", default=2000)
def main(steps):
    torch.manual_seed(0)
    x, pair, critic = torch.eye(D).repeat(64, 1), Pair(), Critic()
    elbo = CriticELBO(CriticTerm(critic))
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3, "betas": (0.5, 0.999)}), elbo)
    critic_adam = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    for _ in range(steps):
        for _ in range(2):  # the critic must stay near its optimum
            critic_adam.zero_grad()
            elbo.critic_loss(pair.model, pair.guide, x).backward()
            critic_adam.step()
        svi.step(x)
    nats = log_integral(lambda z: pair.log_joint(z, x[:D]), J)
    print(f"{float(nats.mean()):.3f} nats per frame by quadrature, at best {-math.log(D):.3f}")


if __name__ == "__main__":
    main()
