"""What are these values: zeros and ones, grey values, counts, or real numbers?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from pyrodgm.data.base import Kind, Splits
from pyrodgm.errors import DataError

KindOption = Literal["auto", "binary", "unit", "count", "real"]
Arrays = dict[str, np.ndarray]

VALUES: dict[Kind, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "binary": ("0 or 1", lambda x: (x == 0) | (x == 1)),
    "unit": ("between 0 and 1", lambda x: (x >= 0) & (x <= 1)),
    "count": ("a whole number from zero", lambda x: (x >= 0) & (x == np.trunc(x))),
    "real": ("a number", lambda x: np.ones(x.shape, bool)),
}


def choose_kind(values: Arrays, asked: KindOption = "auto") -> Kind:
    """The kind that was asked for, or else the one that the values look like.

    Args:
        values: numbers by the name of their array; NaN where one is missing.
        asked: "auto", or a kind.

    Raises:
        DataError: there is no such kind, or the values are of another.
    """
    if asked == "auto":
        return infer_kind(values)
    if asked not in VALUES:
        raise DataError(f"there is no kind '{asked}'; give auto, {', '.join(VALUES)}")
    _refuse_others(values, asked, infer_kind(values))
    return asked


def _refuse_others(values: Arrays, kind: Kind, found: Kind) -> None:
    """Raise where a value is not of a kind; the data looks like another."""
    words, fits = VALUES[kind]
    for name, x in values.items():
        wrong = ~(fits(x) | np.isnan(x))
        if wrong.any():
            frame, feature = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise DataError(
                f"kind '{kind}' was asked for, but frame {frame} of '{name}' has "
                f"{x[frame, feature]:g} in feature {feature}; every value must be {words}. "
                f"By its values the data is '{found}'"
            )


def infer_kind(values: Arrays) -> Kind:
    """The kind that the values look like; those that are missing do not count.

    Whole numbers above one are counts where they are stored as integers, of more than a byte since
    bytes are grey values as a rule. Floats are counts only where some are missing: integers cannot
    be.

    >>> infer_kind({"train": np.array([[0.0, 1.0]]), "test": np.array([[0.5, np.nan]])})
    'unit'
    >>> infer_kind({"train": np.array([[0, 3]])})
    'count'
    """
    arrays = list(values.values())
    has_gaps = any(np.isnan(x.min()) for x in arrays)
    wide = all(x.dtype.itemsize > 1 if x.dtype.kind in "ui" else has_gaps for x in arrays)
    kinds: list[Kind] = ["binary", "unit", *(["count"] if wide else [])]
    for kind in kinds:
        _, fits = VALUES[kind]
        if all((fits(x) | np.isnan(x)).all() for x in arrays):
            return kind
    return "real"


def taken_for(splits: Splits, kind: Kind) -> Splits:
    """The same data, its values taken for those of another kind.

    Raises:
        DataError: the values are of no such kind.

    >>> from pyrodgm.data.base import Sequences
    >>> part = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
    >>> bits = Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), part))
    >>> taken_for(bits, "unit").info.kind
    'unit'
    """
    if kind == splits.info.kind:
        return splits
    values = {split: splits[split].x.numpy() for split in ("train", "valid", "test")}
    _refuse_others(values, kind, splits.info.kind)
    return replace(splits, info=replace(splits.info, kind=kind))
