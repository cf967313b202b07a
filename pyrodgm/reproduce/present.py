"""How is a table shown? As text beside the paper's numbers, as csv and as json."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev

from pyrodgm.access import access_in_words
from pyrodgm.display import number
from pyrodgm.errors import UsageError
from pyrodgm.reproduce.runner import Outcome
from pyrodgm.reproduce.table import Measured, Table
from pyrodgm.storage.files import replacing

SECONDS = ("seconds, paper's protocol", "seconds, ours")


def over_seeds(numbers: list[Measured]) -> Measured:
    """The mean over seeds; its error over seeds, or over sequences where there is one seed."""
    if len(numbers) == 1:
        return numbers[0]
    values = [number.value for number in numbers]
    return Measured(fmean(values), stdev(values) / math.sqrt(len(values)))


def blocks(table: Table, outcomes: list[Outcome]) -> Iterator[tuple[list[str], list[list[str]]]]:
    """For every metric, header and rows: in the paper, under its protocol here, and as ours.

    What was not trained stands below what was; within both the best is first.
    """
    for metric, heading in table.metrics.items():
        rows = [_row(table, outcomes, row, metric) for row in _trained(table, outcomes)]
        untrained = dict.fromkeys(o.row for o in outcomes if o.protocol == "baseline")
        trivial = [_untrained(outcomes, row, metric) for row in untrained]
        header = [heading, "paper", "paper's protocol", "ours", *SECONDS]
        sign = 1 if table.better[metric] == "lower" else -1
        ranked = [*sorted(rows, key=_rank(sign)), *sorted(trivial, key=_rank(sign))]
        shown = [row for row in ranked if any(row[1:4])]
        if any(row[2] or row[3] for row in shown):
            yield _without_blanks(header, shown)


def _trained(table: Table, outcomes: list[Outcome]) -> list[str]:
    """Rows of the paper, then what else was trained."""
    here = [o.row for o in outcomes if o.protocol != "baseline"]
    return list(dict.fromkeys([*table.published, *here]))


def _row(table: Table, outcomes: list[Outcome], row: str, metric: str) -> list[str]:
    here = [_cell(outcomes, row, protocol, metric) for protocol in ("published", "ours")]
    seconds = [_seconds(outcomes, row, protocol, metric) for protocol in ("published", "ours")]
    return [row, table.published.get(row, {}).get(metric, ""), *here, *seconds]


def _untrained(outcomes: list[Outcome], row: str, metric: str) -> list[str]:
    return [row, "", "", _cell(outcomes, row, "baseline", metric), "", ""]


def _rank(sign: int) -> Callable[[list[str]], float]:
    """What rows are sorted by: their best number, lowest first, or highest for a negative sign."""

    def best(row: list[str]) -> float:
        numbers = [sign * float(cell.partition(" ")[0]) for cell in row[1:4] if cell]
        return min(numbers, default=math.inf)

    return best


def _without_blanks(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns that have something in them."""
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def markdown(table: Table, outcomes: list[Outcome]) -> str:
    """The table with its notes, for a document."""
    text = [f"# {table.title}", ""]
    for header, rows in blocks(table, outcomes):
        ruler = ["---", *["---:"] * (len(header) - 1)]
        text += [f"| {' | '.join(cells)} |" for cells in (header, ruler, *rows)] + [""]
    return "\n".join([*text, *(f"- {n}" for n in table.notes), ""])


@access_in_words(UsageError)
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
    return number(value) if math.isnan(error) else f"{number(value)} ± {number(error)}"


def _seconds(outcomes: list[Outcome], row: str, protocol: str, metric: str) -> str:
    found = [
        o.seconds
        for o in outcomes
        if (o.row, o.protocol) == (row, protocol) and metric in o.numbers
    ]
    return f"{fmean(found):.0f}" if found else ""
