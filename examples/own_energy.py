"""Your own energy model in one file: a Boltzmann machine without hidden units.

From the command line, with no other change:

    pyrodgm fit --model examples/own_energy.py:Boltzmann --data FILE

and from Python as below, on rows of bits drawn from a known machine. For bits, an energy model only
needs `potential`: chains, samples and the normaliser have defaults.
"""

from __future__ import annotations

from itertools import product

import click
import numpy as np
import torch
from torch import nn

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import DataError
from pyrodgm.models import EnergyModel, ModelTraits


class Boltzmann(EnergyModel):
    """log p(x) = b'x + x'Jx / 2 - log Z, with J symmetric and zero on the diagonal."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info, *, init_scale: float = 0.01):
        super().__init__(info)
        if info.kind != "binary":
            raise DataError(f"'{info.name}' has {info.kind} values, and this model is of bits")
        self.bias = nn.Parameter(torch.zeros(info.dim))
        self.weight = nn.Parameter(init_scale * torch.randn(info.dim, info.dim))

    @property
    def couplings(self):
        return self.weight.triu(1) + self.weight.triu(1).T

    def potential(self, x, batch):
        return x @ self.bias + 0.5 * ((x @ self.couplings) * x).sum(-1)

    # One product a bit, where the draws that follow from the potential take a potential a bit.
    def gibbs(self, x, batch):
        x, couplings = x.clone(), self.couplings
        for bit in range(x.shape[-1]):
            x[..., bit] = (self.bias[bit] + x @ couplings[bit]).sigmoid().bernoulli()
        return x


@click.command()
@click.option("--steps", default=2000)
@click.option("--rows", default=20_000, help="Training rows.")
def main(steps, rows):
    generator = torch.Generator().manual_seed(0)
    states = torch.tensor(list(product([0.0, 1.0], repeat=8)))
    upper = torch.randn(8, 8, generator=generator).triu(1)
    log_p = ((states @ upper) * states).sum(-1).log_softmax(0)  # the machine that is to be found

    def draws(number):
        rows = log_p.exp().multinomial(number, replacement=True, generator=generator)
        return Sequences(states[rows].numpy(), np.ones(number, int))

    parts = {"train": draws(rows), "valid": draws(2000), "test": draws(2000)}
    splits = Splits.of("machine", "binary", parts)
    model = Boltzmann(splits.info)
    objective = dgm.objectives.PCD(model, dgm.guides.NoGuide(model))
    run = dgm.fit(objective, splits, steps=steps, lr=0.01)
    nats = run.energy_likelihood("test").lower.nats_per_frame
    print(f"{nats:.3f} nats per frame on test; the true machine has {log_p @ log_p.exp():.3f}")


if __name__ == "__main__":
    main()
