"""Settings of training that are drawn at random from a grid, one for each seed of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyrodgm.seeds import numpy_generator
from pyrodgm.setup.settings import merge
from pyrodgm.tables import Column, Table

Choices = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Settings:
    """A grid in random order; the setting of a seed is the same for all rows of a table.

    The order is a fixed permutation of the grid, so that settings differ until all were taken.

    Args:
        axes: by name of an axis, the values of a configuration of each choice, by its label.
        runs: number of settings that the table is of.
        quick_runs: number of those of its small version.

    >>> lr = {"high": {"fit": {"lr": 0.1}}, "low": {"fit": {"lr": 0.01}}}
    >>> grid = Settings({"learning rate": lr}, runs=2, quick_runs=1)
    >>> sorted(grid.labels(seed)["learning rate"] for seed in (0, 1))
    ['high', 'low']
    """

    axes: Mapping[str, Choices]
    runs: int
    quick_runs: int

    def labels(self, seed: int) -> dict[str, str]:
        """The choice of every axis."""
        sizes = tuple(len(choices) for choices in self.axes.values())
        order = numpy_generator(0, "settings").permutation(math.prod(sizes))
        places = np.unravel_index(order[seed % len(order)], sizes)
        return {
            axis: list(choices)[int(place)]
            for (axis, choices), place in zip(self.axes.items(), places, strict=True)
        }

    def values(self, seed: int) -> dict[str, dict[str, Any]]:
        """The values of a configuration, by group."""
        return merge(*(self.axes[axis][label] for axis, label in self.labels(seed).items()))

    def listed(self, count: int) -> Table:
        """The first settings as a table, one row for each seed."""
        rows = [[seed, *self.labels(seed).values()] for seed in range(count)]
        return Table([Column(name) for name in ("seed", *self.axes)], rows)
