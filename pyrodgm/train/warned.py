"""Warnings on a training, which are kept with the run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pyrodgm.errors import TrainingWarning


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the words of training warnings; all warnings are shown afterwards.

    Yields:
        The words, complete after the block.

    >>> with warnings.catch_warnings(record=True, action="always") as shown, noted() as words:
    ...     warnings.warn("the critic is always right", TrainingWarning)
    >>> words, len(shown)
    (['the critic is always right'], 1)
    """
    words: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield words
    finally:
        for each in caught:
            if issubclass(each.category, TrainingWarning):
                words.append(str(each.message))
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
