"""A reproduced table beside the paper's numbers, as text, csv and json."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev

from pyrodgm.access import access_in_words
from pyrodgm.errors import UsageError
from pyrodgm.reproduce.runner import Outcome
from pyrodgm.reproduce.spread import spreads, values_of
from pyrodgm.reproduce.table import PaperTable
from pyrodgm.storage.files import replacing
from pyrodgm.tables import Cell, Column, Measured, Table

SECONDS = ("seconds, paper's protocol", "seconds, ours")


def over_seeds(numbers: list[Measured]) -> Measured:
    """The mean over seeds, with its error over seeds, or over sequences for a single seed."""
    if len(numbers) == 1:
        return numbers[0]
    values = [number.value for number in numbers]
    return Measured(fmean(values), stdev(values) / math.sqrt(len(values)))


def tables(table: PaperTable, outcomes: list[Outcome]) -> Iterator[Table]:
    """One table per metric: the paper's number, and ours under its protocol and under ours.

    Trained models come before baselines; within both the best is first. Tables with settings have
    the distribution of numbers over runs, see `pyrodgm.reproduce.spread.spreads`.
    """
    if table.settings is not None:
        yield from spreads(table, outcomes)
        return
    for metric, heading in table.metrics.items():
        rows = [_row(table, outcomes, row, metric) for row in _trained(table, outcomes)]
        untrained = dict.fromkeys(o.row for o in outcomes if o.protocol == "baseline")
        trivial = [_untrained(outcomes, row, metric) for row in untrained]
        columns = [Column(name) for name in (heading, "paper", "paper's protocol", "ours")]
        columns += [Column(name, digits=0) for name in SECONDS]
        sign = 1 if table.better[metric] == "lower" else -1
        ranked = [*sorted(rows, key=_rank(sign)), *sorted(trivial, key=_rank(sign))]
        shown = [row for row in ranked if any(row[1:4])]
        if any(row[2] or row[3] for row in shown):
            yield Table(columns, shown).without_blanks()


def _trained(table: PaperTable, outcomes: list[Outcome]) -> list[str]:
    """Rows of the paper, then further trained models."""
    here = [o.row for o in outcomes if o.protocol != "baseline"]
    return list(dict.fromkeys([*table.published, *here]))


def _row(table: PaperTable, outcomes: list[Outcome], row: str, metric: str) -> list[Cell]:
    here = [_measured(outcomes, row, protocol, metric) for protocol in ("published", "ours")]
    seconds = [_seconds(outcomes, row, protocol, metric) for protocol in ("published", "ours")]
    return [row, table.published.get(row, {}).get(metric), *here, *seconds]


def _untrained(outcomes: list[Outcome], row: str, metric: str) -> list[Cell]:
    return [row, None, None, _measured(outcomes, row, "baseline", metric), None, None]


def _rank(sign: int) -> Callable[[list[Cell]], float]:
    """A sort key for rows: their best number, lowest first, or highest for a negative sign."""

    def best(row: list[Cell]) -> float:
        printed, *here = row[1:4]
        numbers = [cell.value for cell in here if isinstance(cell, Measured)]
        if isinstance(printed, str):
            numbers.append(float(printed.removeprefix("≈").partition(" ")[0]))
        return min((sign * value for value in numbers), default=math.inf)

    return best


def markdown(table: PaperTable, outcomes: list[Outcome]) -> str:
    """The table with its notes, for a document."""
    text = [f"# {table.title}", ""]
    for block in (*tables(table, outcomes), *_settings(table, outcomes)):
        ruler = ["---", *["---:"] * (len(block.columns) - 1)]
        lines = (block.header, ruler, *block.cells)
        text += [f"| {' | '.join(cells)} |" for cells in lines] + [""]
    return "\n".join([*text, *(f"- {n}" for n in table.notes), ""])


def _settings(table: PaperTable, outcomes: list[Outcome]) -> Iterator[Table]:
    """The settings of all runs, if there are any."""
    if table.settings is not None:
        yield table.settings.listed(1 + max(outcome.seed for outcome in outcomes))


@access_in_words(UsageError)
def write(table: PaperTable, outcomes: list[Outcome], out: Path) -> list[Path]:
    """results.csv, results.json and table.md in a folder; the paths.

    Of a table with settings also histograms.png.
    """
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
    return [*paths, *_histograms(table, outcomes, out)]


def _histograms(table: PaperTable, outcomes: list[Outcome], out: Path) -> list[Path]:
    """The figure of the numbers of all runs of a table with settings; its path."""
    from pyrodgm.figures.checks import save  # matplotlib is slow to import
    from pyrodgm.figures.histograms import histograms

    trained = dict.fromkeys(o.row for o in outcomes if o.numbers and o.protocol != "baseline")
    if table.settings is None or not trained:
        return []
    numbers = {
        heading: {row: values_of(outcomes, row, metric) for row in trained}
        for metric, heading in table.metrics.items()
    }
    marks = {table.metrics[metric]: good for metric, good in table.good.items()}
    path = out / "histograms.png"
    save(histograms(numbers, marks), path)
    return [path]


def to_dict(table: PaperTable, outcomes: list[Outcome]) -> dict[str, object]:
    """Plain values, for JSON."""
    count = 1 + max((outcome.seed for outcome in outcomes), default=-1)
    drawn = table.settings
    settings = {} if drawn is None else {"settings": [drawn.labels(s) for s in range(count)]}
    return {
        **settings,
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


def _measured(outcomes: list[Outcome], row: str, protocol: str, metric: str) -> Measured | None:
    found = [o.numbers[metric] for o in _of(outcomes, row, protocol, metric)]
    mean = over_seeds(found) if found else None
    return None if mean is None or math.isnan(mean.value) else mean


def _seconds(outcomes: list[Outcome], row: str, protocol: str, metric: str) -> float | None:
    found = [o.seconds for o in _of(outcomes, row, protocol, metric)]
    return fmean(found) if found else None


def _of(outcomes: list[Outcome], row: str, protocol: str, metric: str) -> list[Outcome]:
    """The outcomes of a row under a protocol that have a number of a metric."""
    own = [o for o in outcomes if (o.row, o.protocol) == (row, protocol)]
    return [o for o in own if metric in o.numbers]
