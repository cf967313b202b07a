"""Names of the arrays in a data file, and hints for misspelt ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from pyrodgm.data.facts import FACTS
from pyrodgm.data.info import SPLITS
from pyrodgm.errors import DataError, did_you_mean

FURTHER = ("lengths", "held_out", "conditions")  # arrays that can accompany the frames of a split
KEYS = tuple(name for split in SPLITS for name in (split, *(f"{split}_{f}" for f in FURTHER)))
SYNONYMS = {
    "training": "train",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "testing": "test",
    "length": "lengths",
    "lens": "lengths",
}
SIMILAR = 0.8  # as difflib measures it


def check_names(arrays: Iterable[str], others: Iterable[str]) -> None:
    """Refuse names that are probably misspelt, and arrays whose companions are missing.

    A misspelt train_lengths must not silently turn sequences into independent rows.

    Args:
        arrays: names of the format that a file has.
        others: the names of all its other arrays.

    Raises:
        DataError: with the first such name.
    """
    arrays, others = list(arrays), list(others)
    known = [name for name in (*KEYS, *FACTS) if name not in arrays]
    meanings = {name: name for name in known}
    for further in FURTHER:  # "lengths" alone are those of a split that has none
        names = [f"{split}_{further}" for split in SPLITS if split in arrays]
        if lacking := [name for name in names if name not in arrays]:
            meanings[further] = lacking[0]
    for name in others:
        if meant := near(name, meanings):
            raise DataError(f"unknown array '{name}'; did you mean '{meant}'? Rename it")
    if "train" not in arrays:
        hint = did_you_mean("train", [*arrays, *others])
        raise DataError(f"there is no array 'train'; {hint}")
    _check_all_have_lengths(arrays)
    for name in arrays:
        split = name.partition("_")[0]
        if split not in arrays:
            raise DataError(f"there is an array '{name}' but no '{split}'; add it, or drop both")


def _check_all_have_lengths(arrays: list[str]) -> None:
    """Refuse splits if only some of them have lengths."""
    for split in SPLITS:
        with_lengths = f"{split}_lengths" in arrays
        if split in arrays and with_lengths != ("train_lengths" in arrays):
            raise DataError(
                f"'train' and '{split}' differ: one has lengths and the other has none; "
                "give every split its lengths, or none"
            )


def near(name: str, known: Mapping[str, str]) -> str | None:
    """The known name closest to an unknown one; None if none is similar.

    Args:
        name: the unknown name.
        known: names by their known spellings.

    >>> near("lengths", {"lengths": "train_lengths"}), near("Validation", {"valid": "valid"})
    ('train_lengths', 'valid')
    >>> near("labels", {"lengths": "train_lengths", "words": "words"})
    """
    spelt = {_plain(spelling): meant for spelling, meant in known.items()}
    close = difflib.get_close_matches(_plain(name), spelt, n=1, cutoff=SIMILAR)
    return spelt[close[0]] if close else None


def _plain(name: str) -> str:
    """A name in lower case, without separators, with synonyms replaced.

    >>> _plain("val_lens")
    'validlengths'
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    return "".join(SYNONYMS.get(word, word) for word in words)
