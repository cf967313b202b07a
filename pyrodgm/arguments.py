"""Checks of arguments that a user gives from Python."""

from __future__ import annotations

from operator import index
from os import PathLike
from pathlib import Path
from typing import Any

from pyrodgm.errors import UsageError


def check_whole(least: int = 1, /, **given: Any) -> None:
    """Refuse arguments that are not whole numbers, or are too small.

    Args:
        least: the smallest number allowed.
        given: the arguments by name.

    Raises:
        UsageError: one of them is not.

    >>> check_whole(draws=3)
    >>> check_whole(draws=2.5)
    Traceback (most recent call last):
    pyrodgm.errors.UsageError: draws is 2.5; give a whole number, at least 1
    """
    for name, value in given.items():
        try:
            whole = index(value)
        except TypeError:
            words = f"{name} is {value!r}; give a whole number, at least {least}"
            raise UsageError(words) from None
        if whole < least:
            raise UsageError(f"{name} is {whole}; give at least {least}")


def as_path(given: str | PathLike[str], what: str) -> Path:
    """A path that a user gives, as an object.

    Args:
        given: the path.
        what: it is of.

    Raises:
        UsageError: it is something else.

    >>> as_path(3, "the run folder")
    Traceback (most recent call last):
    pyrodgm.errors.UsageError: the run folder is given by int; give a path
    """
    try:
        return Path(given)
    except TypeError:
        words = f"{what} is given by {type(given).__name__}; give a path"
        raise UsageError(words) from None
