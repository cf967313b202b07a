"""Time of drawing paths of binary latents, side by side: the loop over frames and parallel sweeps.

    python tests/benchmarks/sweeps.py                              # bouncing balls
    python tests/benchmarks/sweeps.py --data jsb --steps 3000
    python tests/benchmarks/sweeps.py --device cuda

The guide is fitted for some steps first, since weights as they are drawn hardly look at the past
and would flatter the sweeps. Sequences of the training data lie end to end until a path is long
enough. Loop and sweeps take turns within every round, from the same noise; the ratio is taken round
by round and its median is printed. Paths that differ in any bit are an error.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import count
from typing import Any

import click
import torch
from torch import Tensor

import pyrodgm as dgm
from pyrodgm.batch import Batch
from pyrodgm.data.sequences import Sequences
from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.sampler import SiteSampler
from pyrodgm.engine.sweeps import Sweeps, sweeps_pay
from pyrodgm.networks.layers import SigmoidLayer

HEADER = (
    "| B | T | loop, ms | sweeps, ms | sweeps / loop | sweeps | frames computed | again | chosen |"
)


def fitted(
    data: str, order: int, units: int, steps: int
) -> tuple[dgm.guides.RecurrentBernoulli, Sequences]:
    """A guide fitted with the TSBN, and the training data."""
    splits = dgm.data.load(data)
    model = dgm.models.TSBN(splits.info, hidden_dim=units, history=order)
    guide = dgm.guides.RecurrentBernoulli(model)
    dgm.fit(dgm.objectives.OBJECTIVES["rloo-local"](model, guide), splits, steps=steps)
    return guide, splits.train


def end_to_end(sequences: Sequences, size: int, length: int) -> Tensor:
    """Frames of the data, (size, length, D), sequence after sequence."""
    rows = count()
    paths: list[Tensor] = []
    for _ in range(size):
        parts: list[Tensor] = []
        while sum(map(len, parts)) < length:
            parts.append(sequences.sequence(next(rows) % len(sequences)).float())
        paths.append(torch.cat(parts)[:length])
    return torch.stack(paths)


class Row:
    """The two ways to draw B paths of T frames.

    Args:
        layer: of the guide.
        drive: what its units depend on but for their own past, (B, T, J).
    """

    def __init__(self, layer: SigmoidLayer, drive: Tensor) -> None:
        assert layer.own is not None
        self.layer, self.own, self.drive = layer, layer.own, drive
        self.size, self.length, self.dim = drive.shape

    def sampler(self, seed: int) -> SiteSampler:
        """The noise of a round."""
        torch.manual_seed(seed)
        return SiteSampler("z", torch.Size([self.size]), self.length)

    def loop(self, seed: int) -> Tensor:
        """The path by the loop."""
        lags = self.own.in_features // self.dim
        start = self.drive.new_zeros(self.size, lags, self.dim)
        return StochasticCell.path(self.layer, self.drive, start, self.sampler(seed))

    def sweeps(self, seed: int) -> tuple[Tensor, Sweeps]:
        """The path by sweeps."""
        drawing = Sweeps(self.layer, self.own, self.drive, self.sampler(seed))
        return drawing.path(), drawing

    def round(self, seed: int) -> tuple[float, float]:
        """Seconds of the loop and of the sweeps from the same noise."""
        path, by_loop = timed(partial(self.loop, seed))
        (same, self.drawing), by_sweeps = timed(partial(self.sweeps, seed))
        if not torch.equal(path, same):
            raise SystemExit(f"B={self.size}, T={self.length}, seed {seed}: the paths differ")
        return by_loop, by_sweeps

    def measured(self, rounds: int, seconds: float) -> str:
        """The line of the table: at least two rounds, and no new one after some seconds."""
        pairs = [self.round(seed) for seed in range(2)]
        begin = time.perf_counter()
        while len(pairs) <= rounds and (len(pairs) < 3 or time.perf_counter() - begin < seconds):
            pairs.append(self.round(len(pairs)))
        loop, sweeps = (1e3 * statistics.median(column) for column in zip(*pairs[1:], strict=True))
        drawing = self.drawing
        ratio = statistics.median(after / before for before, after in pairs[1:])
        chosen = sweeps_pay(self.own, self.drive, self.sampler(0))
        return (
            f"| {self.size} | {self.length} | {loop:.1f} | {sweeps:.1f} | {ratio:.2f} "
            f"| {drawing.sweeps} | {drawing.computed / len(drawing.sums):.1f} x "
            f"| {drawing.checked + drawing.looped} | {'sweeps' if chosen else 'loop'} |"
        )


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the wall time that it took."""
    start = time.perf_counter()
    result = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _numbers(_: object, __: object, text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


@click.command()
@click.option("--data", default="balls", help="Dataset name or file that the guide is fitted to.")
@click.option("--steps", default=300, help="Training steps of the guide.")
@click.option("--order", default=1, help="Lags n.")
@click.option("--units", default=100, help="Latent units J.")
@click.option("--sizes", default="1,8,32,128", callback=_numbers, help="Paths B.")
@click.option("--lengths", default="100,400,1000,4000", callback=_numbers, help="Frames T.")
@click.option("--rounds", default=20, help="At most, of every row.")
@click.option("--seconds", default=20.0, help="Begin no round of a row after that many.")
@click.option("--device", default="cpu")
def main(
    data: str,
    steps: int,
    order: int,
    units: int,
    sizes: list[int],
    lengths: list[int],
    rounds: int,
    seconds: float,
    device: str,
) -> None:
    """Print times of both ways for every B and T."""
    where = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    guide, sequences = fitted(data, order, units, steps)
    layer = next(iter(guide.to(device).layers))
    assert layer.own is not None
    click.echo(
        f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"{data}, {steps} steps, order {order}, J={units}, "
        f"weights of the past with sd {layer.own.weight.std():.3f}\n\n{HEADER}\n{'|---' * 9}|"
    )
    for length in lengths:
        for size in sizes:
            with torch.no_grad():
                drive = guide.encode(
                    Batch.of(end_to_end(sequences, size, length)).to(torch.device(device))
                )
                click.echo(Row(layer, drive).measured(rounds, seconds))


if __name__ == "__main__":
    main()
