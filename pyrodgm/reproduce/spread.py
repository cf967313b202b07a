"""Numbers of many runs with different settings: mean, spread, median and share of good runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, median, stdev

from pyrodgm.reproduce.runner import Outcome
from pyrodgm.reproduce.table import PaperTable
from pyrodgm.tables import Cell, Column, Table

STATISTICS = ("mean", "sd", "median", "share")


def spreads(table: PaperTable, outcomes: list[Outcome]) -> Iterator[Table]:
    """One table per metric: trained rows, then the paper's, then baselines.

    A run that became non-finite counts as a run that is not good; the mean, the standard deviation
    and the median are without it.
    """
    trained = dict.fromkeys(o.row for o in outcomes if o.protocol != "baseline")
    for metric, heading in table.metrics.items():
        rows = [_trained(table, _runs(outcomes, row), row, metric) for row in trained]
        rows += [_published(table, row, metric) for row in table.published]
        rows += [
            [o.row, None, o.numbers[metric], *[None] * 4]
            for o in outcomes
            if o.protocol == "baseline" and metric in o.numbers
        ]
        side = "above" if table.better[metric] == "higher" else "below"
        columns = [Column(name) for name in (heading, "runs", "mean", "sd", "median")]
        columns += [Column(f"share {side} {table.good[metric]:g}", "%", 0), Column("non-finite")]
        yield Table(columns, rows).without_blanks()


def values_of(outcomes: list[Outcome], row: str, metric: str) -> list[float]:
    """A metric of every run of a row that has it."""
    runs = [o for o in _runs(outcomes, row) if metric in o.numbers]
    return [o.numbers[metric].value for o in runs if not math.isnan(o.numbers[metric].value)]


def _runs(outcomes: list[Outcome], row: str) -> list[Outcome]:
    return [o for o in outcomes if o.row == row and o.protocol != "baseline"]


def _trained(table: PaperTable, runs: list[Outcome], row: str, metric: str) -> list[Cell]:
    found = values_of(runs, row, metric)
    failed = sum(bool(o.failure) for o in runs) or None
    if not found:
        return [row, len(runs), *[None] * 3, 0.0, failed]
    sign = 1 if table.better[metric] == "higher" else -1
    good = sum(sign * value > sign * table.good[metric] for value in found)
    sd = stdev(found) if len(found) > 1 else None
    return [row, len(runs), fmean(found), sd, median(found), good / len(runs), failed]


def _published(table: PaperTable, row: str, metric: str) -> list[Cell]:
    """A row of the paper, as printed."""
    numbers = table.published[row]
    printed = [numbers.get(f"{metric} {name}") for name in STATISTICS]
    return [row, numbers.get("runs"), *printed, None]
