"""Reproduction of tables of papers."""

from pyrodgm.errors import UsageError, did_you_mean
from pyrodgm.reproduce.reading import read_tables
from pyrodgm.reproduce.table import PaperTable

TABLES: dict[str, PaperTable] = read_tables()

__all__ = ["TABLES", "find"]


def find(name: str) -> PaperTable:
    """The table with a name.

    Raises:
        UsageError: there is no such table.

    >>> find("tsbn-balls").title
    'Bouncing balls: one-step prediction and log-likelihood per frame'
    """
    if name not in TABLES:
        raise UsageError(f"unknown table '{name}'; {did_you_mean(name, TABLES)}")
    return TABLES[name]
