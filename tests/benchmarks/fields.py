"""A step of `pcd` and of `nce` beside the same step written by hand, in alternation.

    python tests/benchmarks/fields.py --rounds 30

The bits are those of `rbm` (784 visible units), the rows of real numbers those of `gmm32`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.guides import GUIDES
from pyrodgm.models import MODELS
from pyrodgm.objectives import OBJECTIVES

ROWS, CHAINS, RATE, NU, LR = 100, 100, 0.3, 10, 1e-3
BITS = DataInfo("bits", "binary", 784, (RATE,) * 784, 1.0, 1, (0.46,) * 784)
PLANE = DataInfo("plane", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))
STEP, MOVES = 0.01, 10

Step = Callable[[], None]


def training(parameters: list[Tensor], loss: Callable[[], Tensor]) -> Step:
    """A step of Adam on a loss."""
    optimiser = torch.optim.Adam(parameters, lr=LR)

    def step() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step


def library(
    info: DataInfo, model: str, objective: str, guide: str, x: Tensor, **options: int
) -> Step:
    """The library's step on rows (B, D), with options of the objective."""
    made = MODELS[model](info)
    found = OBJECTIVES[objective](made, GUIDES[guide](made), **options)
    found.begin(Sequences(x.numpy(), torch.ones(len(x), dtype=torch.int64).numpy()))
    batch = Batch.of(x[:, None])
    return training(list(found.parameters()), lambda: found(batch).surrogate)


def machine_by_hand(x: Tensor) -> Step:
    """Persistent contrastive divergence of a restricted Boltzmann machine with 200 hidden units."""
    weight = nn.Parameter(0.01 * torch.randn(200, x.shape[1]))
    visible, hidden = nn.Parameter(torch.zeros(x.shape[1])), nn.Parameter(torch.zeros(200))
    chains = x[:CHAINS].clone()

    def potential(v: Tensor) -> Tensor:
        return v @ visible + F.softplus(F.linear(v, weight, hidden)).sum(-1)

    def loss() -> Tensor:
        nonlocal chains
        with torch.no_grad():
            p = F.linear(chains, weight, hidden).sigmoid()
            h = (torch.rand_like(p) < p).to(p)
            p = F.linear(h, weight.T, visible).sigmoid()
            chains = (torch.rand_like(p) < p).to(p)
        return potential(chains).mean() - potential(x).mean()

    return training([weight, visible, hidden], loss)


def field_by_hand() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The network of a field of two numbers, and its potential with a standard normal reference."""
    parts = [
        part
        for below, above in pairwise((2, 100, 100))
        for part in (nn.Linear(below, above), nn.LeakyReLU(0.2))
    ]
    network = nn.Sequential(*parts, nn.Linear(100, 1, bias=False))

    def potential(x: Tensor) -> Tensor:
        return network(x).squeeze(-1) - x.square().sum(-1) / 2 - math.log(2 * math.pi)

    return network, potential


def chains_by_hand(x: Tensor) -> Step:
    """Persistent contrastive divergence of a field by Langevin dynamics."""
    network, potential = field_by_hand()
    chains = x[:CHAINS].clone()

    def loss() -> Tensor:
        nonlocal chains
        for _ in range(MOVES):
            at = chains.requires_grad_()
            (slope,) = torch.autograd.grad(potential(at).sum(), at)
            noise = math.sqrt(2 * STEP) * torch.randn_like(at)
            chains = at.detach() + STEP * slope + noise
        return potential(chains).mean() - potential(x).mean()

    return training(list(network.parameters()), loss)


def contrast_by_hand(x: Tensor) -> Step:
    """Noise-contrastive estimation of a field with standard normal noise."""
    network, potential = field_by_hand()
    log_z = nn.Parameter(torch.zeros(()))

    def log_odds(x: Tensor) -> Tensor:
        log_q = -x.square().sum(-1) / 2 - math.log(2 * math.pi)
        return potential(x) - log_z - log_q - math.log(NU)

    def loss() -> Tensor:
        noise = torch.randn(NU * len(x), 2)
        right = F.logsigmoid(log_odds(x)).mean() + NU * F.logsigmoid(-log_odds(noise)).mean()
        return -right

    return training([*network.parameters(), log_z], loss)


def milliseconds(step: Step) -> float:
    """Time of a step."""
    start = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - start)


def compare(rows: Mapping[str, tuple[Step, Step]], rounds: int) -> None:
    """Print the median times of the library's steps and of those by hand, and of their ratio."""
    for name, (own, floor) in rows.items():
        times = [(milliseconds(own), milliseconds(floor)) for _ in range(rounds)]
        ratio = statistics.median(a / b for a, b in times)
        first, second = (statistics.median(each) for each in zip(*times, strict=True))
        click.echo(f"{name}: {first:.2f} ms, by hand {second:.2f} ms, ratio {ratio:.2f}")


@click.command()
@click.option("--rounds", default=200, help="Steps of each, in alternation.")
def main(rounds: int) -> None:
    torch.manual_seed(0)
    x = torch.full((ROWS, 784), RATE).bernoulli()
    plane = torch.randn(ROWS, 2)
    rows = {
        "rbm, pcd": (library(BITS, "rbm", "pcd", "none", x), machine_by_hand(x)),
        "random-field, pcd": (
            library(PLANE, "random-field", "pcd", "none", plane),
            chains_by_hand(plane),
        ),
        "random-field, nce": (
            library(PLANE, "random-field", "nce", "marginals", plane),
            contrast_by_hand(plane),
        ),
    }
    compare(rows, rounds)


if __name__ == "__main__":
    main()
