"""Our NVIL inside plain Pyro: your own program, written with pyro.markov, trained by SVI.

Nothing here derives from a class of ours: a hidden Markov chain of binary vectors with a mean-field
guide over time. Pyro's Trace_ELBO runs beside it on the same program.
"""

from __future__ import annotations

import click
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyrodgm.objectives import NVIL, ObjectiveELBO

J, D, T = 5, 12, 20


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.transition = nn.Linear(J, J)
        self.emission = nn.Linear(J, D)

    def model(self, x):
        pyro.module("chain", self)
        z = x.new_zeros(len(x), J)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                z = pyro.sample(f"z_{t}", dist.Bernoulli(logits=self.transition(z)).to_event(1))
                emission = dist.Bernoulli(logits=self.emission(z)).to_event(1)
                pyro.sample(f"x_{t}", emission, obs=x[:, t])


class Recognition(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Linear(D, J)

    def guide(self, x):
        pyro.module("recognition", self)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                pyro.sample(f"z_{t}", dist.Bernoulli(logits=self.logits(x[:, t])).to_event(1))


def toy_data(num):
    state = (torch.arange(T) // 5 % 2)[None, :, None] * torch.ones(num, 1, D)
    return torch.bernoulli(0.1 + 0.8 * state)


@click.command()
@click.option("--steps", default=400)
def main(steps):
    x = toy_data(64)
    for name, elbo in {
        "Trace_ELBO": Trace_ELBO(),
        "NVIL": ObjectiveELBO(NVIL, signal="local"),
    }.items():
        pyro.clear_param_store()
        torch.manual_seed(0)
        chain, recognition = Chain(), Recognition()
        svi = SVI(chain.model, recognition.guide, pyro.optim.Adam({"lr": 0.02}), elbo)
        losses = [svi.step(x) / x[..., 0].numel() for _ in range(steps)]
        tail = losses[-50:]
        print(f"{name:>10}: {-sum(tail) / len(tail):.3f} nats per frame after {steps} steps")
    pyro.clear_param_store()


if __name__ == "__main__":
    main()
