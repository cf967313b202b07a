"""A random field of bits with a NADE that proposes its draws, checked against enumeration.

The field learns from chains that accept or reject rows of the NADE, and the NADE learns from the
chains (inclusive auxiliary generator). On ten bits everything can be summed: the log-likelihood of
the field, that of the NADE, and the divergence between them. From the command line:

    pyrodgm fit --model random-field --guide nade --objective inclusive-nrf --data FILE
"""

from __future__ import annotations

from itertools import product

import click
import numpy as np
import torch

import pyrodgm as dgm
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits

BITS = 10


def rows_of_a_ring(num, seed):
    """Two neighbouring bits of a ring are on, rarely three, or one anywhere by chance."""
    rng = np.random.default_rng(seed)
    first = rng.integers(BITS, size=num)
    x = np.zeros((num, BITS), np.uint8)
    for width in (0, 1):
        x[np.arange(num), (first + width) % BITS] = 1
    x[np.arange(num), (first + 2) % BITS] = rng.random(num) < 0.2
    x ^= rng.random((num, BITS)) < 0.02
    return Sequences(x, np.ones(num, int))


@click.command()
@click.option("--steps", default=2000)
def main(steps):
    names = ("train", "valid", "test")
    parts = {name: rows_of_a_ring(2000, seed) for seed, name in enumerate(names)}
    splits = Splits.of("ring", "binary", parts)
    model = dgm.models.RandomField(splits.info, hidden_dim=(50, 50))
    guide = dgm.guides.NADEGuide(model, hidden_dim=30)
    objective = dgm.objectives.InclusiveNRF(model, guide, revision="mis", steps=5)
    run = dgm.fit(objective, splits, steps=steps, lr=0.003)

    states = torch.tensor(list(product([0.0, 1.0], repeat=BITS)))[:, None]
    with torch.no_grad():
        batch = Batch.of(states)
        log_p = model.potential(states, batch)[:, 0].double().log_softmax(0)
        log_q = guide.log_prob(states, batch)[:, 0].double()
        test = run.splits["test"].batch(range(2000))
        of_guide = guide.log_prob(test.x, test).mean()
    field = run.energy_likelihood("test").lower.nats_per_frame
    print(f"field {field:.3f} nats per frame on test rows, NADE {of_guide:.3f}")
    print(f"KL(field || NADE) {(log_p.exp() * (log_p - log_q)).sum():.4f} nats, by summation")
    print(f"acceptance of the NADE's rows by the chains: {objective.acceptance.value:.2f}")


if __name__ == "__main__":
    main()
