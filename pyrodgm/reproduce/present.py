"""How is a table shown? As text beside the paper's numbers, as csv and as json."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean, stdev

from pyrodgm.files import replacing
from pyrodgm.reproduce.runner import Outcome
from pyrodgm.reproduce.table import Measured, Table


def over_seeds(numbers: list[Measured]) -> Measured:
    """The mean over seeds; its error over seeds, or over sequences where there is one seed."""
    if len(numbers) == 1:
        return numbers[0]
    values = [number.value for number in numbers]
    return Measured(fmean(values), stdev(values) / math.sqrt(len(values)))


def lines(table: Table, outcomes: list[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: every metric as in the paper, under its protocol, as ours."""
    header = ["model"]
    for heading in table.metrics.values():
        header += [f"{heading}, paper", f"{heading}, paper's protocol", f"{heading}, ours"]
    header += ["seconds, paper's protocol", "seconds, ours"]
    trained = dict.fromkeys(o.row for o in outcomes if o.protocol != "baseline")
    rows = []
    for row in [*table.published, *(r for r in trained if r not in table.published)]:
        cells = [row]
        for metric in table.metrics:
            cells.append(table.published.get(row, {}).get(metric, ""))
            cells += [_cell(outcomes, row, protocol, metric) for protocol in ("published", "ours")]
        cells += [_seconds(outcomes, row, protocol) for protocol in ("published", "ours")]
        rows.append(cells)
    for row in dict.fromkeys(o.row for o in outcomes if o.protocol == "baseline"):
        cells = [row]
        for metric in table.metrics:
            cells += ["", "", _cell(outcomes, row, "baseline", metric)]
        rows.append([*cells, "", ""])
    return _without_blanks(header, rows)


def _without_blanks(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns that have something in them."""
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def markdown(table: Table, outcomes: list[Outcome]) -> str:
    """The table with its notes, for a document."""
    header, rows = lines(table, outcomes)
    body = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([f"# {table.title}", "", *body, "", *(f"- {n}" for n in table.notes), ""])


def write(table: Table, outcomes: list[Outcome], out: Path) -> list[Path]:
    """results.csv, results.json and table.md in a folder; the paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("results.csv", "results.json", "table.md")]
    with replacing(paths[0]) as unfinished, unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["row", "protocol", "seed", "metric", "value", "standard_error", "steps", "seconds"]
        )
        writer.writerows(_flat(outcomes))
    with replacing(paths[1]) as unfinished:
        unfinished.write_text(json.dumps(to_dict(table, outcomes), indent=2))
    with replacing(paths[2]) as unfinished:
        unfinished.write_text(markdown(table, outcomes))
    return paths


def to_dict(table: Table, outcomes: list[Outcome]) -> dict[str, object]:
    """Plain values, for JSON."""
    return {
        "table": table.name,
        "metrics": dict(table.metrics),
        "better": dict(table.better),
        "published": {row: dict(numbers) for row, numbers in table.published.items()},
        "outcomes": [outcome.to_dict() for outcome in outcomes],
        "notes": list(table.notes),
    }


def _flat(outcomes: Iterable[Outcome]) -> Iterable[list[object]]:
    for o in outcomes:
        for metric, (value, error) in o.numbers.items():
            seed = "" if o.seed < 0 else o.seed
            shown = ["" if math.isnan(v) else v for v in (value, error)]
            yield [o.row, o.protocol, seed, metric, *shown, o.steps, round(o.seconds, 1)]


def _cell(outcomes: list[Outcome], row: str, protocol: str, metric: str) -> str:
    found = [
        o.numbers[metric]
        for o in outcomes
        if (o.row, o.protocol) == (row, protocol) and metric in o.numbers
    ]
    if not found:
        return ""
    value, error = over_seeds(found)
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ± {error:.3f}"


def _seconds(outcomes: list[Outcome], row: str, protocol: str) -> str:
    found = [o.seconds for o in outcomes if (o.row, o.protocol) == (row, protocol)]
    return f"{fmean(found):.0f}" if found else ""
