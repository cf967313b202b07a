"""Time and memory of one `pcd` step with a number of chains, in a process of its own.

    python tests/benchmarks/chains.py

prints, for growing numbers of chains, the median time of a step and the MiB that steps took at
most beyond what the model and ten chains take. Linux only, as `scaling.py`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import torch
from fields import BITS, PLANE, RATE, ROWS, library, milliseconds
from scaling import peak

CHAINS = (1_000, 4_000, 16_000, 64_000)
FIELDS = {"rbm": BITS, "random-field": PLANE}
STEPS = 5


def measure(model: str, chains: int) -> tuple[float, float]:
    """Milliseconds and MiB, in this process."""
    torch.manual_seed(0)
    x = torch.full((ROWS, 784), RATE).bernoulli() if model == "rbm" else torch.randn(ROWS, 2)
    library(FIELDS[model], model, "pcd", "none", x, particles=10)()
    before = peak()
    step = library(FIELDS[model], model, "pcd", "none", x, particles=chains)
    times = [milliseconds(step) for _ in range(1 + STEPS)]
    return statistics.median(times[1:]), peak() - before


def main() -> None:
    for model in FIELDS:
        for chains in CHAINS:
            command = [sys.executable, __file__, model, str(chains)]
            run = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            time, memory = json.loads(run.stdout)
            print(  # noqa: T201
                f"{model}, {chains:,} chains: {time:.0f} ms, {memory:.0f} MiB; of one chain "
                f"{1000 * time / chains:.1f} us, {1024 * memory / chains:.1f} KiB"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))  # noqa: T201
    else:
        main()
