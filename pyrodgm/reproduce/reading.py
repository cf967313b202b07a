"""Tables of papers from TOML files.

A file has these parts:

- ``title`` and ``notes``;
- ``measure``: the name of one of `MEASURES` and its options; ``baselines``: any of `BASELINES`;
- ``metrics``: for each its heading, the direction that is better, and in a table with settings the
  number from which a run is ``good``;
- ``data``: by dataset its heading, ``options``, and ``quick`` ones for the small version;
- ``protocols``: values of a configuration by group; ``like`` names one of ``protocols.toml`` that
  they change;
- ``settings``: the number of ``runs`` and of ``quick_runs`` of every row, and ``axes``, by name and
  label values of a configuration by group, from which each run has a random combination;
- ``quick``: values by group for the small version;
- ``rows``: a name, ``protocols`` by name, values by group, the same under a protocol alone, and
  ``only``, datasets if not all;
- ``published``: the paper's numbers as printed, by row and metric.

Where there are several datasets, a metric is named after the dataset, as in "jsb single".
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyrodgm.data.base import Splits
from pyrodgm.reproduce.measures import BASELINES, MEASURES
from pyrodgm.reproduce.settings import Settings
from pyrodgm.reproduce.table import Cell, Numbers, PaperTable
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import GROUPS
from pyrodgm.setup.settings import merge

FOLDER = Path(__file__).parent / "tables"
SHARED = FOLDER / "protocols.toml"

Parts = Mapping[str, Any]


def read_tables() -> dict[str, PaperTable]:
    """All tables of the package, by name."""
    return {path.stem: read_table(path) for path in sorted(FOLDER.glob("*.toml")) if path != SHARED}


def read_table(path: Path) -> PaperTable:
    """A table, named after its file."""
    parts = tomllib.loads(path.read_text(encoding="utf-8"))
    datasets, metrics = parts["data"], parts["metrics"]
    named = {
        _metric(data, metric, datasets): {**each, "heading": _heading(datasets[data], each)}
        for data in datasets
        for metric, each in metrics.items()
    }
    return PaperTable(
        name=path.stem,
        title=parts["title"],
        metrics={metric: each["heading"] for metric, each in named.items()},
        better={metric: each["better"] for metric, each in named.items()},
        cells=tuple(_cells(parts)),
        measure=partial(_measure, parts),
        baselines=partial(_baselines, parts),
        published=parts.get("published", {}),
        notes=tuple(parts["notes"]),
        settings=Settings(**parts["settings"]) if "settings" in parts else None,
        good={metric: each["good"] for metric, each in named.items() if "good" in each},
    )


def _metric(data: str, metric: str, datasets: Parts) -> str:
    return f"{data} {metric}" if len(datasets) > 1 else metric


def _heading(data: Parts, metric: Parts) -> str:
    return " ".join(filter(None, (data.get("heading"), metric["heading"])))


def _cells(parts: Parts) -> Iterator[Cell]:
    """Every row on every dataset under every protocol."""
    shared = tomllib.loads(SHARED.read_text(encoding="utf-8"))
    for row in parts["rows"]:
        for data in row.get("only", parts["data"]):
            for name in row["protocols"]:
                options = parts["data"][data]
                protocol = parts["protocols"][name]
                config = merge(
                    _groups(shared.get(protocol.get("like"), {})),
                    _groups(protocol),
                    {"data": {"source": data, **options.get("options", {})}},
                    _groups(row),
                    _groups(row.get(name, {})),
                )
                quick = merge(
                    shared["quick"],
                    _groups(parts.get("quick", {})),
                    {"data": options.get("quick", {})},
                )
                variant = data if len(parts["data"]) > 1 else ""
                yield Cell(row["name"], name, config, quick, variant)


def _groups(values: Parts) -> dict[str, dict[str, Any]]:
    """The values that are groups of a configuration."""
    return {group: dict(values[group]) for group in GROUPS if group in values}


def _measure(parts: Parts, run: Run) -> Numbers:
    options = dict(parts["measure"])
    found = MEASURES[options.pop("name")](run, **options)
    return _of_data(parts, run.splits.info.name, found)


def _baselines(parts: Parts, splits: Splits) -> Mapping[str, Numbers]:
    rows = {}
    for each in parts["baselines"]:
        options = dict(each)
        rows |= BASELINES[options.pop("name")](splits, **options)
    return {row: _of_data(parts, splits.info.name, found) for row, found in rows.items()}


def _of_data(parts: Parts, data: str, numbers: Numbers) -> Numbers:
    """The numbers shown in the table, by the names of its metrics."""
    return {
        _metric(data, metric, parts["data"]): numbers[metric]
        for metric in parts["metrics"]
        if metric in numbers
    }
