"""Time and memory of one training step of a given length, in a process of its own.

    python tests/benchmarks/scaling.py "dtsbn-s, order 2" 4300

prints the median seconds of a step, and the MiB that steps took at most beyond what Python and
torch take by themselves. Linux only: a child's `ru_maxrss` would begin at that of its parent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from family import VARIANTS

LENGTHS = (100, 250, 500, 1000, 2000, 4300)  # the longest sequence of the music sets has 4273
SCALED = {
    "tsbn": replace(VARIANTS["tsbn"], size=8),
    "dtsbn-s, order 2": replace(VARIANTS["dtsbn-s, 100-100, order 2"], size=8),
    "dtsbn-d, order 2": replace(VARIANTS["dtsbn-d, 100-100, order 2"], size=8),
    "vrnn": replace(VARIANTS["vrnn"], size=8),
    "srnn": replace(VARIANTS["srnn"], size=8),
    "dmm": replace(VARIANTS["dmm"], size=8),
}
STEPS = 7


def measured(name: str, length: int) -> tuple[float, float]:
    """Seconds and MiB, measured by a new process."""
    run = subprocess.run(
        [sys.executable, __file__, name, str(length)], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, mebibytes = json.loads(run.stdout)
    return seconds, mebibytes


def peak() -> float:
    """MiB of memory that this process held at most so far."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def measure(name: str, length: int) -> tuple[float, float]:
    """Seconds and MiB, in this process."""
    variant = replace(SCALED[name], length=length)
    estimator, options = variant.estimator
    batch, objective = variant.batch(), variant.library(estimator, **options)
    before, times = peak(), []
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        objective.zero_grad()
        objective(batch).surrogate.backward()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]), peak() - before


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))  # noqa: T201
