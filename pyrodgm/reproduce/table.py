"""A table of a paper: its rows, the protocols each is run under, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyrodgm.data.base import Splits
from pyrodgm.runs.run import Run
from pyrodgm.tables import Measured

Values = Mapping[str, Mapping[str, Any]]
Numbers = Mapping[str, Measured]


@dataclass(frozen=True)
class Cell:
    """One model under one protocol: trained once for every seed.

    Args:
        row: name of the model.
        protocol: "published" or "ours".
        config: what `pyrodgm.setup.config.resolve` takes; the seed is set by the runner.
        quick: what the small version changes.
        variant: what tells it from other cells of the row and protocol, such as the data.
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
        name: what a person types.
        title: what it shows.
        metrics: column heading of every number, in order.
        better: which way each metric improves, "lower" or "higher".
        cells: what is trained.
        measure: what is measured of a fitted run.
        baselines: what needs no training, by row, from the data.
        published: the paper's numbers as printed, by row and metric.
        notes: what a reader must know to compare.
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
