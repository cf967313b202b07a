"""Time of one training step, side by side: the library against a hand-written step, Pyro and JAX.

    python tests/benchmarks/step_time.py                # one step, every contender
    python tests/benchmarks/step_time.py --dim 900
    python tests/benchmarks/step_time.py --scaling      # how it grows with T

All contenders take turns within every round, so that a slow moment of the machine hits all of them;
the ratio to the floor is taken round by round and its median is printed. No verdict is given.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import click
import torch

import pyrodgm as dgm
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo

sys.path.insert(0, str(Path(__file__).parent))
from floor import HandWrittenTSBN

Step = Callable[[], object]
HIDDEN = 100


def torch_step(module: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Step:
    """One step of Adam on a loss."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def library_step(name: str, info: DataInfo, batch: Batch, **options: object) -> Step:
    """One step of one of the library's objectives."""
    model = dgm.models.TSBN(info, hidden_dim=HIDDEN)
    guide = dgm.guides.RecurrentBernoulli(info, hidden_dim=HIDDEN)
    objective = dgm.objectives.OBJECTIVES[name](model, guide, **options).to(batch.x.device)
    return torch_step(objective, lambda: objective(batch).surrogate)


def contenders(batch: Batch, *, slow: bool) -> dict[str, Step]:
    """What is timed, the floor first."""
    dim, length = batch.x.shape[2], batch.length
    info = DataInfo("bench", "binary", dim, (0.3,) * dim, length, length)
    hand = HandWrittenTSBN(dim, HIDDEN).to(batch.x.device)
    steps = {
        "hand-written PyTorch": torch_step(hand, lambda: hand(batch.x)),
        "pyrodgm nvil, fused": library_step("nvil", info, batch, signal="future"),
        "pyrodgm rloo-local, 4 draws a frame": library_step("rloo-local", info, batch),
        "pyrodgm rloo, 4 paths, fused": library_step("rloo", info, batch),
    }
    if find_spec("jax"):
        from floor_jax import jax_step

        steps["JAX lax.scan, jitted"] = jax_step(batch.x.cpu().numpy(), HIDDEN)
    if slow:
        steps |= {
            "pyrodgm nvil, unrolled": library_step("nvil", info, batch, execution="unrolled"),
            "Pyro Trace_ELBO, unrolled": library_step("trace-elbo", info, batch),
            "Pyro TraceGraph_ELBO, unrolled": library_step(
                "tracegraph-elbo", info, batch, baseline="none"
            ),
        }
    return steps


def seconds(step: Step) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def interleaved(steps: dict[str, Step], rounds: int, slow_rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round; the unrolled ones sit most rounds out."""
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            if number < slow_rounds or "unrolled" not in name:
                times[name].append(seconds(step))
    return times


def make_batch(size: int, length: int, dim: int, device: str) -> Batch:
    """A batch of coin tosses."""
    torch.manual_seed(0)
    return Batch.of((torch.rand(size, length, dim) > 0.7).float()).to(torch.device(device))


@click.command()
@click.option("--dim", default=88, help="Observed features D.")
@click.option("--length", default=100, help="Frames T.")
@click.option("--batch-size", default=32, help="Sequences B.")
@click.option("--rounds", default=40)
@click.option("--slow-rounds", default=3, help="Rounds of the unrolled contenders; 0 skips them.")
@click.option("--device", default="cpu")
@click.option("--scaling", is_flag=True, help="Time per frame as T grows, instead.")
def main(
    dim: int,
    length: int,
    batch_size: int,
    rounds: int,
    slow_rounds: int,
    device: str,
    scaling: bool,
) -> None:
    """Print step times and their ratios to the hand-written floor."""
    where = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    click.echo(
        f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"B={batch_size}, D={dim}, J={HIDDEN}"
    )
    if scaling:
        print_scaling(dim, batch_size, device)
        return
    steps = contenders(make_batch(batch_size, length, dim, device), slow=slow_rounds > 0)
    times = interleaved(steps, rounds, slow_rounds)
    floor = times["hand-written PyTorch"]
    click.echo(
        f"T={length}; {rounds} rounds\n\n| step | ms (median) | times the floor |\n|---|---|---|"
    )
    for name, values in times.items():
        ratio = statistics.median(t / f for t, f in zip(values, floor, strict=False))
        click.echo(f"| {name} | {1e3 * statistics.median(values):.1f} | {ratio:.2f} |")


def print_scaling(dim: int, batch_size: int, device: str) -> None:
    """Time per frame at growing T: constant if the cost is linear."""
    click.echo("\n| T | ms per step | µs per frame |\n|---|---|---|")
    for length in (100, 250, 500, 1000, 2000, 4000):
        batch = make_batch(max(1, batch_size // 4), length, dim, device)
        info = DataInfo("bench", "binary", dim, (0.3,) * dim, length, length)
        step = library_step("nvil", info, batch, signal="future")
        step()
        median = statistics.median(seconds(step) for _ in range(7))
        frames = batch.size * length
        click.echo(f"| {length} | {1e3 * median:.1f} | {1e6 * median / frames:.2f} |")


if __name__ == "__main__":
    main()
