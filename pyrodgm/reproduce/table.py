"""A table of a paper: its rows, their protocols, and the measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyrodgm.data.base import Splits
from pyrodgm.reproduce.settings import Settings
from pyrodgm.runs.run import Run
from pyrodgm.tables import Measured

Values = Mapping[str, Mapping[str, Any]]
Numbers = Mapping[str, Measured]


@dataclass(frozen=True)
class Cell:
    """One model under one protocol, trained once per seed.

    Args:
        row: name of the model.
        protocol: "published" or "ours".
        config: the input of `pyrodgm.setup.config.resolve`; the seed is set by the runner.
        quick: changes for the small version.
        variant: distinguishes it from other cells of the row and protocol, for instance the data.
    """

    row: str
    protocol: str
    config: Values
    quick: Values = field(default_factory=dict)
    variant: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Args:
        name: of the table, as typed by the user.
        title: of the table.
        metrics: column heading of every number, in order.
        better: direction in which each metric improves, "lower" or "higher".
        cells: the models to train.
        measure: measures a fitted run.
        baselines: measures baselines from the data, by row.
        published: the paper's numbers as printed, by row and metric.
        notes: remarks for a comparison.
        settings: of the runs of every cell, one for each seed; without, seeds alone differ.
        good: of a table with settings, the number from which a run is good, by metric.
    """

    name: str
    title: str
    metrics: Mapping[str, str]
    better: Mapping[str, str]
    cells: tuple[Cell, ...]
    measure: Callable[[Run], Numbers]
    baselines: Callable[[Splits], Mapping[str, Numbers]]
    published: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()
    settings: Settings | None = None
    good: Mapping[str, float] = field(default_factory=dict)

    def runs(self, quick: bool) -> int:
        """Number of runs of a cell, unless another is asked for."""
        if self.settings is None:
            return 1
        return self.settings.quick_runs if quick else self.settings.runs
