"""Time of one training step of every objective, over the plain evidence lower bound's.

    python tests/benchmarks/objectives.py
    python tests/benchmarks/objectives.py --model tsbn --particles 1 --particles 10

One optimiser step on the same batch, model and guide, with the losses of all phases; `elbo` has one
draw. All objectives take
turns within every round, the ratio is taken round by round and its median is printed. An objective
that compares draws takes no single one.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import UsageError
from pyrodgm.guides import GUIDES
from pyrodgm.models import MODELS
from pyrodgm.objectives import OBJECTIVES, Objective
from pyrodgm.schema import schema
from pyrodgm.setup.grid import grid

sys.path.insert(0, str(Path(__file__).parent))
from step_time import Step, interleaved, milliseconds, ratio, torch_step

# Features D, sequences B and frames T of the data of a model, and the model's own options.
SIZES: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "sbn": (784, 100, 1, {"hidden_dim": 200}),
    "vae": (784, 100, 1, {"latent_dim": 50}),
    "tsbn": (88, 16, 60, {"hidden_dim": 100}),
    "vrnn": (88, 16, 60, {"latent_dim": 32, "hidden_dim": 128, "feature_dim": 64}),
}
# One step of Pyro's unrolled programs takes seconds; step_time.py has them.
UNROLLED = {"trace-elbo", "tracegraph-elbo"}
PLAIN = "elbo 1"


def guide_of(model: str) -> str:
    """The guide that a model is fitted with by default."""
    companions = MODELS[model].companions
    assert companions is not None
    return companions.guide


def objective(model: str, name: str, particles: int | None) -> Objective:
    """An objective of a model and its guide."""
    dim, *_, options = SIZES[model]
    info = DataInfo("bench", "binary", dim, (0.3,) * dim, 1.0, 1)
    p = MODELS[model](info, **options)
    q = GUIDES[guide_of(model)](p)
    return OBJECTIVES[name](p, q, **({} if particles is None else {"particles": particles}))


def batch(model: str) -> Batch:
    """Coin tosses."""
    dim, size, length, _ = SIZES[model]
    torch.manual_seed(0)
    return Batch.of(torch.bernoulli(torch.full((size, length, dim), 0.3)))


def step(made: Objective, data: Batch) -> Step:
    """The losses of all phases, their gradients, and one step of an optimiser."""
    rows = data.x.flatten(0, 1).numpy().astype("uint8")
    lengths = torch.full((data.size,), data.length).numpy()
    made.begin(Sequences(rows, lengths))
    made.train()
    phases = range(len(made.built_phases))
    return torch_step(made, lambda: torch.stack([made(data, n).surrogate for n in phases]).sum())


def contenders(model: str, particles: tuple[int, ...]) -> Iterator[tuple[str, Step]]:
    """Steps by name and number of draws, plain first."""
    data = batch(model)
    yield PLAIN, step(objective(model, "elbo", 1), data)
    for name, kind in OBJECTIVES.items():
        if name in UNROLLED or guide_of(model) not in grid()[name, model].guides:
            continue
        for number in particles if "particles" in schema(kind) else (None,):
            label = f"{name} {number or ''}".strip()
            try:
                made = objective(model, name, number)
            except UsageError:
                continue
            if label != PLAIN:
                yield label, step(made, data)


@click.command()
@click.option("--model", "models", multiple=True, default=tuple(SIZES), help="Repeatable.")
@click.option("--particles", multiple=True, default=(1, 10), help="Draws K; repeatable.")
@click.option("--rounds", default=30)
def main(models: tuple[str, ...], particles: tuple[int, ...], rounds: int) -> None:
    """Print step times and their ratios to plain elbo's with one draw."""
    where = platform.processor() or "CPU"
    threads = torch.get_num_threads()
    click.echo(f"{date.today()}, {where}, {threads} threads, torch {torch.__version__}")
    for model in models:
        dim, size, length, options = SIZES[model]
        sizes = ", ".join(f"{key}={value}" for key, value in options.items())
        click.echo(f"\n{model}: B={size}, T={length}, D={dim}, {sizes}; {rounds} rounds\n")
        click.echo(f"| objective | {' | '.join(f'K={k}, ms | times elbo' for k in particles)} |")
        click.echo("|---|" + "---|---|" * len(particles))
        times = interleaved(dict(contenders(model, particles)), rounds, rounds)
        for name in dict.fromkeys(label.split()[0] for label in times):
            cells = []
            for k in particles:
                own = times.get(f"{name} {k}") or times.get(name)
                cells += [milliseconds(own), f"{ratio(own, times[PLAIN]):.2f}"] if own else ["", ""]
            click.echo(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
