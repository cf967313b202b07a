"""Tables of results: values with units, rendered as text, HTML and markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import NamedTuple

from pyrodgm.display import number


class Measured(NamedTuple):
    """A number with its standard error, which is NaN if there is none."""

    value: float
    error: float = float("nan")


Cell = str | int | float | Measured | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        heading: name of the quantity.
        unit: of its values, in the heading; "%" multiplies shares by a hundred.
        digits: decimals of its numbers.
    """

    heading: str
    unit: str = ""
    digits: int = 3

    @property
    def title(self) -> str:
        """The heading with its unit.

        >>> Column("next frame", "nats").title, Column("", "nats").title, Column("wins", "%").title
        ('next frame, nats', 'nats', 'wins')
        """
        unit = "" if self.unit == "%" else self.unit
        return ", ".join(part for part in (self.heading, unit) if part)

    def shown(self, cell: Cell) -> str:
        """A value as text; empty for None.

        >>> Column("error").shown(Measured(2.0, 0.25)), Column("share", "%", 1).shown(0.123)
        ('2.000 ± 0.250', '12.3 %')
        >>> [Column("any").shown(cell) for cell in ("as it is", 7, 7.0, math.nan, None)]
        ['as it is', '7', '7.000', '–', '']
        """
        if cell is None or isinstance(cell, str | Integral):
            return "" if cell is None else str(cell)
        if isinstance(cell, Measured):
            error = "" if math.isnan(cell.error) else f" ± {number(cell.error, self.digits)}"
            return number(cell.value, self.digits) + error
        if self.unit == "%":
            return f"{100 * cell:.{self.digits}f} %"
        return number(cell, self.digits)


@dataclass(frozen=True)
class Table:
    """Rows of values below columns.

    Args:
        columns: of the table; empty for a table without header.
        rows: values, as many as columns.
        title: of the table.
        marked: indices of highlighted rows.
        numeric: whether columns after the first are numbers, aligned to the right; else the table
            is a list of properties.
        notes: remarks below the table, a sentence or two each.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    marked: Sequence[int] = ()
    numeric: bool = True
    notes: Sequence[str] = ()

    @property
    def header(self) -> list[str]:
        """Titles of the columns."""
        return [column.title for column in self.columns]

    @property
    def cells(self) -> list[list[str]]:
        """All values as text."""
        columns = self.columns or [Column("")] * max(map(len, self.rows), default=0)
        return [[c.shown(x) for c, x in zip(columns, row, strict=True)] for row in self.rows]

    def without_blanks(self) -> Table:
        """The table without empty columns."""
        kept = [i for i in range(len(self.columns)) if any(row[i] is not None for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in kept], rows=rows)
