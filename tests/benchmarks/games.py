"""A training step of a game beside the same step written by hand, in alternation.

    python tests/benchmarks/games.py --rounds 200

Both take a turn of the critic and one of the others, each on a new batch of rows of the plane; the
library's step is that of its training loop, with its checks and its reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import click
import numpy as np
import torch
import torch.nn.functional as F
from fields import Step, compare
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.guides import GUIDES
from pyrodgm.models import MODELS
from pyrodgm.objectives import OBJECTIVES
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training

ROWS, BATCH, UNITS, LR, BETAS = 4096, 128, (128, 128), 1e-3, (0.5, 0.999)
PLANE = DataInfo("plane", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))
CRITIC = {"critic_dim": UNITS, "critic_betas": BETAS}

Loss = Callable[[], Tensor]


def library(x: Tensor, objective: str, guide: str | None, **options: object) -> Step:
    """A step of the library's training of a generator on rows (N, D)."""
    sequences = Sequences(x.numpy(), np.ones(len(x), dtype=np.int64))
    splits = Splits(PLANE, sequences, sequences, sequences)
    latent = {} if guide is None else {"latent_dim": 2}
    model = MODELS["generator"](PLANE, hidden_dim=UNITS, noise_dim=2, **latent)
    found = GUIDES["none"](model) if guide is None else GUIDES[guide](model, hidden_dim=UNITS)
    made = OBJECTIVES[objective](model, found, **CRITIC, **options)
    chosen = FitOptions(
        steps=10**9, batch_size=BATCH, lr=LR, betas=BETAS, averaging=0.0, device="cpu"
    )
    steps = Training(made, splits, chosen, launch(chosen)).steps()
    return lambda: (next(steps), None)[1]


def network(*sizes: int) -> nn.Sequential:
    """Rectified layers, and an output that is linear."""
    parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def batches(x: Tensor) -> Iterator[Tensor]:
    """Rows in a random order, again and again."""
    while True:
        yield from x[torch.randperm(len(x))].split(BATCH)


def turn(parameters: list[nn.Parameter], loss: Loss) -> Step:
    """A step of Adam on a loss, with gradients of its own parameters alone."""
    optimiser = torch.optim.Adam(parameters, lr=LR, betas=BETAS, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward(inputs=parameters)
        optimiser.step()

    return step


def together(*turns: Step) -> Step:
    """One turn after the other."""

    def step() -> None:
        for each in turns:
            each()

    return step


def gan_by_hand(x: Tensor) -> Step:
    """The game of Goodfellow et al. with the logistic loss that does not saturate."""
    generator, critic = network(2, *UNITS, 2), network(2, *UNITS, 1)
    rows = batches(x)

    def critic_loss() -> Tensor:
        with torch.no_grad():
            draws = generator(torch.randn(BATCH, 2))
        return F.softplus(-critic(next(rows))).mean() + F.softplus(critic(draws)).mean()

    def generator_loss() -> Tensor:
        return F.softplus(-critic(generator(torch.randn(len(next(rows)), 2)))).mean()

    return together(
        turn(list(critic.parameters()), critic_loss),
        turn(list(generator.parameters()), generator_loss),
    )


def svae_by_hand(x: Tensor) -> Step:
    """A critic of pairs, and the symmetric KL divergence that it estimates."""
    generator, guide = network(4, *UNITS, 2), network(2 + 32, *UNITS, 2)
    critic, rows = network(4, *UNITS, 1), batches(x)

    def values() -> tuple[Tensor, Tensor]:
        data = next(rows)
        latents = guide(torch.cat([torch.randn(len(data), 32), data], -1))
        prior = torch.randn(len(data), 2)
        draws = generator(torch.cat([prior, torch.randn(len(data), 2)], -1))
        pairs = (data, latents), (draws, prior)
        return critic(torch.cat(pairs[0], -1)), critic(torch.cat(pairs[1], -1))

    def critic_loss() -> Tensor:
        of_q, of_p = values()
        return F.softplus(-of_q).mean() + F.softplus(of_p).mean()

    def pair_loss() -> Tensor:
        of_q, of_p = values()
        return (of_q - of_p).mean()

    return together(
        turn(list(critic.parameters()), critic_loss),
        turn([*generator.parameters(), *guide.parameters()], pair_loss),
    )


@click.command()
@click.option("--rounds", default=200, help="Steps of each, in alternation.")
def main(rounds: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, 2)
    rows = {
        "gan": (library(x, "gan", None), gan_by_hand(x)),
        "svae": (library(x, "svae", "implicit"), svae_by_hand(x)),
    }
    compare(rows, rounds)


if __name__ == "__main__":
    main()
