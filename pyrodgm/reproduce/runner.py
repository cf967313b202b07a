"""Training and measuring the cells of a table; finished cells are not repeated."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrodgm.access import access_in_words
from pyrodgm.display import json_number
from pyrodgm.errors import NonFiniteError, UsageError, did_you_mean
from pyrodgm.reproduce.table import Cell, Numbers, PaperTable
from pyrodgm.runs.finishing import check_same, finished
from pyrodgm.setup.build import build_data
from pyrodgm.setup.config import RunConfig, resolve
from pyrodgm.setup.settings import merge
from pyrodgm.storage.files import replacing
from pyrodgm.tables import Measured
from pyrodgm.train.recorder import Watcher

Say = Callable[[str], None]
RESULT = "result.json"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one cell with one seed.

    Args:
        row: name of the model.
        protocol: "published", "ours" or "baseline".
        seed: of the run; -1 for deterministic baselines.
        numbers: by metric.
        steps: of training.
        seconds: of training.
        failure: why there are no numbers; else empty.
    """

    row: str
    protocol: str
    seed: int
    numbers: Numbers
    steps: int = 0
    seconds: float = 0.0
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        numbers = {name: [*map(json_number, pair)] for name, pair in self.numbers.items()}
        return {**self.__dict__, "numbers": numbers}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Outcome:
        """The inverse of `to_dict`."""
        numbers = {
            name: Measured(*(math.nan if v is None else v for v in pair))
            for name, pair in values["numbers"].items()
        }
        return cls(**{**values, "numbers": numbers})


@access_in_words(UsageError)
def reproduce(
    table: PaperTable,
    out: Path,
    *,
    seeds: int | None = None,
    quick: bool = False,
    rows: tuple[str, ...] = (),
    protocol: str | None = None,
    say: Say = lambda _: None,
    watcher: Watcher | None = None,
) -> list[Outcome]:
    """Train and measure cells of a table; a second call continues where one stopped.

    The outcomes include other cells and seeds that an earlier call has finished. A training that
    becomes non-finite is an outcome with a failure.

    Args:
        table: the table.
        out: folder of all runs, with a subfolder for each cell and seed.
        seeds: number of seeds, from zero; by default one, or one for each of the table's settings.
        quick: the small version, which takes minutes and has its own folders.
        rows: names of rows; all by default.
        protocol: only "published" or "ours"; both by default.
        say: called with messages.
        watcher: of the training runs.

    Raises:
        UsageError: no such row, or none under that protocol.
    """
    chosen = [c for c in _chosen(table, rows) if protocol in (None, c.protocol)]
    if not chosen:
        raise UsageError(f"{', '.join(rows)} has nothing under the protocol '{protocol}'")
    seeds = table.runs(quick) if seeds is None else seeds
    if seeds < 1:
        raise UsageError(f"seeds is {seeds}; give at least 1")
    top = out / ("quick" if quick else "full")
    outcomes: list[Outcome] = []
    number = 0
    for cell in table.cells:
        place = top / _slug(cell)
        for seed in sorted({*range(seeds), *_seeds(place)}):
            config, folder = _config(table, cell, seed, quick), place / f"seed-{seed}"
            if cell in chosen and seed < seeds:
                number += 1
                what = filter(None, (cell.row, cell.protocol, cell.variant, f"seed {seed}"))
                say(f"{', '.join(what)} ({number} of {len(chosen) * seeds})")
                outcomes.append(_outcome(table, cell, config, folder, watcher))
            elif (kept := _read(folder / RESULT)) and kept["config"] == config.to_toml():
                outcomes.append(Outcome.from_dict(kept["outcome"]))
    by_data = {str(c.data): c for c in (_config(table, cell, 0, quick) for cell in chosen)}
    baselines = [outcome for c in by_data.values() for outcome in _baselines(table, c, top)]
    return [*_once(baselines), *outcomes]


def _seeds(folder: Path) -> list[int]:
    """The seeds of earlier runs of a cell."""
    return [int(path.parent.name.removeprefix("seed-")) for path in folder.glob(f"seed-*/{RESULT}")]


def _once(baselines: list[Outcome]) -> list[Outcome]:
    """Every number of every row once; options of training do not change baselines."""
    numbers: dict[str, dict[str, Measured]] = {}
    for outcome in baselines:
        numbers[outcome.row] = {**outcome.numbers, **numbers.get(outcome.row, {})}
    return [Outcome(row, "baseline", -1, measured) for row, measured in numbers.items()]


def _outcome(
    table: PaperTable, cell: Cell, config: RunConfig, folder: Path, watcher: Watcher | None
) -> Outcome:
    """The outcome of a cell: from its file, else from its run, which is finished if needed."""
    if kept := _read(folder / RESULT):
        check_same(folder, kept["config"], config)
        return Outcome.from_dict(kept["outcome"])
    try:
        run = finished(config, folder / "run", watcher)
    except NonFiniteError as error:
        return Outcome(cell.row, cell.protocol, config.fit.seed, {}, failure=str(error))
    numbers = table.measure(run)
    outcome = Outcome(cell.row, cell.protocol, config.fit.seed, numbers, run.steps, run.seconds)
    with replacing(folder / RESULT) as unfinished:
        result = {"config": config.to_toml(), "outcome": outcome.to_dict()}
        unfinished.write_text(json.dumps(result, indent=2))
    return outcome


def _read(result: Path) -> dict[str, Any] | None:
    return json.loads(result.read_text()) if result.is_file() else None


def _baselines(table: PaperTable, config: RunConfig, out: Path) -> list[Outcome]:
    """The baselines, which need no training, measured once per dataset."""
    result = out / f"baselines-{_words(str(dict(config.data.options)) + config.data.name)}.json"
    if result.is_file():
        return [Outcome.from_dict(values) for values in json.loads(result.read_text())]
    measured = table.baselines(build_data(config))
    outcomes = [Outcome(row, "baseline", -1, numbers) for row, numbers in measured.items()]
    with replacing(result) as unfinished:
        unfinished.write_text(json.dumps([o.to_dict() for o in outcomes], indent=2))
    return outcomes


def _config(table: PaperTable, cell: Cell, seed: int, quick: bool) -> RunConfig:
    drawn = table.settings.values(seed) if table.settings else {}
    changed = cell.quick if quick else {}
    return resolve(merge(cell.config, drawn, changed, {"fit": {"seed": seed}}))


def _chosen(table: PaperTable, rows: tuple[str, ...]) -> tuple[Cell, ...]:
    known = list(dict.fromkeys(cell.row for cell in table.cells))
    for row in rows:
        if row not in known:
            raise UsageError(f"{table.name} has no row '{row}'; {did_you_mean(row, known)}")
    return tuple(cell for cell in table.cells if not rows or cell.row in rows)


def _slug(cell: Cell) -> str:
    return _words(f"{cell.row} {cell.protocol} {cell.variant}")


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
