"""Time of one training step in two checkouts, side by side.

    python tests/benchmarks/versions.py OLD_CHECKOUT    # against the checkout of this file

Each checkout runs in a process of its own, and the two take turns step by step, so that a slow
moment of the machine hits both; the ratio new/old is taken pair by pair. No verdict is given.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import click
import torch

HERE = Path(__file__).resolve().parents[2]


class Checkout:
    """A process that takes steps of one checkout's code when it is asked to."""

    def __init__(self, root: Path) -> None:
        script = str(HERE / "tests/benchmarks/versions.py")
        self.process = subprocess.Popen(
            [sys.executable, script, "--serve", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        )
        self.requests = cast("IO[str]", self.process.stdin)
        self.answers = cast("IO[str]", self.process.stdout)

    def step(self, variant: str) -> float:
        """Seconds of one step of a variant."""
        self.requests.write(variant + "\n")
        self.requests.flush()
        return float(self.answers.readline())

    def close(self) -> None:
        """End the process."""
        self.requests.close()
        self.process.wait()


def serve(root: Path) -> None:
    """Read names of variants, take a step of each, print its seconds."""
    sys.path.insert(0, str(root / "tests/benchmarks"))
    from family import VARIANTS
    from step_time import LIBRARY, Step, pair, seconds

    steps: dict[str, Step] = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in steps:
            torch.manual_seed(0)
            steps[name] = pair(VARIANTS[name], VARIANTS[name].batch())[LIBRARY]
        click.echo(seconds(steps[name]))


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--variant", "variants", multiple=True, default=["tsbn"], help="May be repeated.")
@click.option("--rounds", default=40)
@click.option("--serve", "served", is_flag=True, hidden=True)
def main(other: Path, variants: tuple[str, ...], rounds: int, served: bool) -> None:
    """Print the step times of OTHER and of this checkout, and their ratio."""
    if served:
        return serve(other)
    old, new = Checkout(other.resolve()), Checkout(HERE)
    click.echo(f"{rounds} rounds, one thread each\n")
    click.echo("| variant | other, ms | this, ms | this / other | quartiles |")
    click.echo("|---|---|---|---|---|")
    for name in variants:
        pairs = [(old.step(name), new.step(name)) for _ in range(rounds + 2)][2:]
        ratios = [after / before for before, after in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        before, after = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        click.echo(
            f"| {name} | {before:.1f} | {after:.1f} | {middle:.3f} | {low:.2f} to {high:.2f} |"
        )
    old.close()
    new.close()
    return None


if __name__ == "__main__":
    main()
