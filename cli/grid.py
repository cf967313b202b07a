"""`pyrodgm list --grid` as text: tables of at most the given width, and legends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from string import ascii_letters
from typing import Any

from pyrodgm.objectives import OBJECTIVES
from pyrodgm.objectives.targets import GUIDE_TARGETS, MODEL_TARGETS, Targets
from pyrodgm.setup.compat import registered
from pyrodgm.setup.grid import Cell, entries, grid
from pyrodgm.tables import Column, Table

FITS = "+"
Key = tuple[str, str]


def as_json() -> dict[str, Any]:
    """The grid by objective and model, and what every objective optimises."""
    cells: dict[str, dict[str, Any]] = {name: {} for name in OBJECTIVES}
    for (objective, model), cell in grid().items():
        reasons = [f"{given}; needed: {needed}" for given, needed in cell.reasons]
        cells[objective][model] = {"guides": list(cell.guides), "reasons": reasons}
    rows = [
        {
            "objective": name,
            "class": objective.__name__,
            "theta": targets.theta,
            "phi": targets.phi,
            "source": targets.source,
            "options": targets.options,
        }
        for name, objective, targets in entries()
    ]
    return {"grid": cells, "targets": rows}


def tables(width: int) -> Iterator[Table]:
    """Everything as tables that are at most so wide, if names allow."""
    yield from _grid_tables(width)
    yield _review_table(width)
    yield _entries_table()


def _grid_tables(width: int) -> Iterator[Table]:
    """Objectives x models, in blocks of models; the last has the legend of letters."""
    cells = grid()
    letters = _letters(cells)
    first = max(map(len, OBJECTIVES))
    blocks = _blocks(list(registered()), width - first)
    for number, models in enumerate(blocks):
        rows = [[name, *(_shown(cells[name, m], letters) for m in models)] for name in OBJECTIVES]
        last = number == len(blocks) - 1
        yield Table(
            [Column("objective"), *map(Column, models)],
            rows,
            title="" if number else "Objectives that fit a model (+), and why others do not",
            notes=list(_legend(letters, width)) if last else (),
        )


def _letters(cells: Mapping[Key, Cell]) -> dict[Key, str]:
    """A letter for every reason, in the order of the rows."""
    reasons = dict.fromkeys(reason for cell in cells.values() for reason in cell.reasons)
    return dict(zip(reasons, ascii_letters, strict=False))


def _shown(cell: Cell, letters: Mapping[Key, str]) -> str:
    return FITS if cell.guides else "".join(sorted(letters[reason] for reason in cell.reasons))


def _legend(letters: Mapping[Key, str], width: int) -> Iterator[str]:
    """What the letters stand for."""
    for (given, needed), letter in letters.items():
        line = f"{letter}  the {given}; the objective needs {needed}"
        yield textwrap.fill(line, width, subsequent_indent="   ")


def _blocks(names: Sequence[str], width: int) -> list[list[str]]:
    """The names in lists that are at most so wide, with two spaces before each."""
    found: list[list[str]] = []
    left = 0
    for name in names:
        left -= len(name) + 2
        if not found or left < 0:
            found.append([])
            left = width - len(name) - 2
        found[-1].append(name)
    return found


def _review_table(width: int) -> Table:
    """Table 1 of the review: names of objectives by what model and guide optimise."""
    each = (width - max(map(len, GUIDE_TARGETS))) // len(MODEL_TARGETS) - 2
    rows: list[list[str]] = []
    for phi in GUIDE_TARGETS:
        cells = [_wrapped(theta, phi, each) for theta in MODEL_TARGETS]
        lines = list(zip_longest(*cells, fillvalue=""))
        rows += [[phi if line is lines[0] else "", *_padded(line, each)] for line in lines]
    legend = [
        "* with the options below",
        *(f"{name} of the model: {formula}" for name, formula in MODEL_TARGETS.items()),
        *(f"{name} of the guide: {formula}" for name, formula in GUIDE_TARGETS.items()),
    ]
    return Table(
        [Column("guide \\ model"), *map(Column, _padded(MODEL_TARGETS, each))],
        rows,
        title="Table 1 of Ou, A review of learning with deep generative models: what they optimise",
        notes=[textwrap.fill(line, width, subsequent_indent="   ") for line in legend],
    )


def _wrapped(theta: str, phi: str, width: int) -> list[str]:
    """The objectives of a cell, in lines; a dash where there are none."""
    names = [
        name + ("*" if targets.options else "")
        for name, _, targets in entries()
        if (targets.theta, targets.phi) == (theta, phi)
    ]
    return textwrap.wrap(
        ", ".join(names), width, break_long_words=False, break_on_hyphens=False
    ) or ["-"]


def _entries_table() -> Table:
    """The class and the equation of every entry, those of the review first."""
    rows: list[tuple[str, str, str]] = []
    previous = ""
    for name, objective, targets in sorted(entries(), key=lambda entry: _rank(entry[2])):
        if (pair := f"{targets.theta} / {targets.phi}") != previous:
            rows.append((pair, "", ""))
            previous = pair
        options = f", {targets.options}" if targets.options else ""
        rows.append((f"  {name}{options}", objective.__name__, targets.source))
    heads = ("model / guide", "class", "equation of the review, or paper")
    first, *others = (
        _padded(column, max(map(len, column))) for column in zip(heads, *rows, strict=True)
    )
    heading, *cells = zip(first, *others, strict=True)
    return Table([*map(Column, heading)], cells)


def _padded(texts: Iterable[str], width: int) -> list[str]:
    """Texts that are aligned to the left in a column that tables align to the right."""
    return [text.ljust(width) for text in texts]


def _rank(targets: Targets) -> tuple[int, int, str]:
    """The place in the table of the review, row by row; what is not in it comes last."""
    thetas, phis = list(MODEL_TARGETS), list(GUIDE_TARGETS)
    if not targets.in_review:
        return len(phis), 0, f"{targets.theta} / {targets.phi}"
    return phis.index(targets.phi), thetas.index(targets.theta), ""
