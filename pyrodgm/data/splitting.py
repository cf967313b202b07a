"""Splits that a source of data lacks, held out of its training sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyrodgm.seeds import numpy_generator

HELD_OUT = 0.1


def held_out(total: int, missing: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Rows of every missing split, a tenth of all each, and the remaining ones under "train".

    Args:
        total: number of sequences, more than there are missing splits.
        missing: names of splits.
        seed: of the choice.

    >>> {name: len(rows) for name, rows in held_out(20, ["valid", "test"], 0).items()}
    {'valid': 2, 'test': 2, 'train': 16}
    """
    size = max(1, round(HELD_OUT * total))
    rows = numpy_generator(seed, "hold out").permutation(total)
    found = {}
    for split in missing:
        found[split], rows = np.sort(rows[:size]), rows[size:]
    return {**found, "train": np.sort(rows)}
