"""Time of one training step, side by side: the library against hand-written steps, Pyro and JAX.

    python tests/benchmarks/step_time.py                # one step of the TSBN, every contender
    python tests/benchmarks/step_time.py --dim 900
    python tests/benchmarks/step_time.py --variants     # every variant against its own floor
    python tests/benchmarks/step_time.py --scaling      # how time and memory grow with T

All contenders take turns within every round, so that a slow moment of the machine hits all of them;
the ratio to the floor is taken round by round and its median is printed. No verdict is given.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import click
import torch

from pyrodgm.batch import Batch

sys.path.insert(0, str(Path(__file__).parent))
from family import VARIANTS, Variant
from scaling import LENGTHS, SCALED, measured

Step = Callable[[], object]
FLOOR, LIBRARY = "hand-written PyTorch", "pyrodgm nvil, fused"


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


def floor_step(variant: Variant, batch: Batch) -> Step:
    """One step written by hand."""
    floor = variant.floor().to(batch.x.device)
    return torch_step(floor, lambda: floor(batch.x))


def library_step(variant: Variant, batch: Batch, name: str = "nvil", **options: object) -> Step:
    """One step of one of the library's objectives."""
    objective = variant.library(name, **options).to(batch.x.device)
    return torch_step(objective, lambda: objective(batch).surrogate)


def pair(variant: Variant, batch: Batch) -> dict[str, Step]:
    """The floor and the library, with the same estimator."""
    name, options = variant.estimator
    return {
        FLOOR: floor_step(variant, batch),
        LIBRARY: library_step(variant, batch, name, **options),
    }


def contenders(variant: Variant, batch: Batch, *, slow: bool) -> dict[str, Step]:
    """What is timed, the floor first."""
    steps = pair(variant, batch) | {
        "pyrodgm rloo-local, 4 draws a frame": library_step(variant, batch, "rloo-local"),
        "pyrodgm rloo, 4 paths, fused": library_step(variant, batch, "rloo"),
    }
    if find_spec("jax"):
        from floor_jax import jax_step

        steps["JAX lax.scan, jitted"] = jax_step(batch.x.cpu().numpy(), variant.hidden_dim)
    if slow:
        steps |= {
            "pyrodgm nvil, unrolled": library_step(variant, batch, execution="unrolled"),
            "Pyro Trace_ELBO, unrolled": library_step(variant, batch, "trace-elbo"),
            "Pyro TraceGraph_ELBO, unrolled": library_step(
                variant, batch, "tracegraph-elbo", baseline="none"
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


def ratio(times: list[float], floor: list[float]) -> float:
    """The median over rounds of how many times the floor a step took."""
    return statistics.median(t / f for t, f in zip(times, floor, strict=False))


def milliseconds(times: list[float]) -> str:
    return f"{1e3 * statistics.median(times):.1f}"


@click.command()
@click.option("--dim", default=88, help="Observed features D.")
@click.option("--length", default=100, help="Frames T.")
@click.option("--batch-size", default=32, help="Sequences B.")
@click.option("--rounds", default=40)
@click.option("--slow-rounds", default=3, help="Rounds of the unrolled contenders; 0 skips them.")
@click.option("--device", default="cpu")
@click.option("--variants", is_flag=True, help="Every variant against its own floor, instead.")
@click.option("--scaling", is_flag=True, help="Time and memory as T grows, on CPU, instead.")
def main(
    dim: int,
    length: int,
    batch_size: int,
    rounds: int,
    slow_rounds: int,
    device: str,
    variants: bool,
    scaling: bool,
) -> None:
    """Print step times and their ratios to the hand-written floor."""
    where = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    click.echo(
        f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    if scaling:
        print_scaling()
    elif variants:
        print_variants(rounds, device)
    else:
        variant = replace(VARIANTS["tsbn"], dim=dim, length=length, size=batch_size)
        print_contenders(variant, rounds, slow_rounds, device)


def print_contenders(variant: Variant, rounds: int, slow_rounds: int, device: str) -> None:
    """The TSBN of order 1, by everyone."""
    batch = variant.batch().to(torch.device(device))
    times = interleaved(contenders(variant, batch, slow=slow_rounds > 0), rounds, slow_rounds)
    click.echo(f"{variant.sizes}; {rounds} rounds\n\n| step | ms (median) | times the floor |")
    click.echo("|---|---|---|")
    for name, values in times.items():
        click.echo(f"| {name} | {milliseconds(values)} | {ratio(values, times[FLOOR]):.2f} |")


def print_variants(rounds: int, device: str) -> None:
    """Every variant of the family, by hand and by the library."""
    click.echo(f"{rounds} rounds\n\n| variant | sizes | by hand, ms | pyrodgm, ms | ratio |")
    click.echo("|---|---|---|---|---|")
    for name, variant in VARIANTS.items():
        times = interleaved(pair(variant, variant.batch().to(torch.device(device))), rounds, 0)
        by_hand, library = times[FLOOR], times[LIBRARY]
        click.echo(
            f"| {name} | {variant.sizes} | {milliseconds(by_hand)} | {milliseconds(library)} "
            f"| {ratio(library, by_hand):.2f} |"
        )


def print_scaling() -> None:
    """Time and memory per frame at growing T: constant if both are linear."""
    click.echo(f"B={SCALED['tsbn'].size}, D={SCALED['tsbn'].dim}")
    for name in SCALED:
        click.echo(f"\n{name}\n\n| T | ms per step | µs per frame | peak MiB | KiB per frame |")
        click.echo("|---|---|---|---|---|")
        for length in LENGTHS:
            took, mebibytes = measured(name, length)
            frames = SCALED[name].size * length
            click.echo(
                f"| {length} | {1e3 * took:.1f} | {1e6 * took / frames:.2f} | {mebibytes:.0f} "
                f"| {1024 * mebibytes / frames:.1f} |"
            )


if __name__ == "__main__":
    main()
