"""Kinds of values: zeros and ones, grey values, symbols, counts, or real numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from pyrodgm.data.info import Kind
from pyrodgm.data.symbols import symbols_of
from pyrodgm.display import exact
from pyrodgm.errors import DataError

KindOption = Literal["auto", "binary", "unit", "categorical", "count", "real"]
Arrays = dict[str, np.ndarray]
FRAMES_AT_ONCE = 2**14  # bounds the memory of the checks
MOST = 2**24  # single precision, in which values are stored, skips whole numbers beyond
MOST_SYMBOLS = 32  # different values of a feature that is taken for categorical

WHOLE = (
    f"a whole number from zero to {MOST}",
    lambda x: (x >= 0) & (x <= MOST) & (x == np.trunc(x)),
)
VALUES: dict[Kind, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "binary": ("0 or 1", lambda x: (x == 0) | (x == 1)),
    "unit": ("between 0 and 1", lambda x: (x >= 0) & (x <= 1)),
    "categorical": WHOLE,
    "count": WHOLE,
    "real": ("a number", lambda x: np.ones(x.shape, bool)),
}


HELD_BY: dict[Kind, tuple[Kind, ...]] = {  # further kinds as which values of a kind can be read
    "binary": ("unit", "categorical", "count", "real"),
    "unit": ("real",),
    "categorical": ("count", "real"),
    "count": ("categorical", "real"),
    "real": (),
}


def taken_for(kind: Kind, wanted: Iterable[Kind]) -> str:
    """A hint for reading values of one kind as another; empty if that is not possible.

    >>> taken_for("unit", ("real",))
    '. Or read the values as real: data.kind=real (--set data.kind=real)'
    """
    fitting = [other for other in HELD_BY[kind] if other in wanted]
    if not fitting:
        return ""
    options = ", or ".join(f"data.kind={other} (--set data.kind={other})" for other in fitting)
    return f". Or read the values as {' or '.join(fitting)}: {options}"


def choose_kind(values: Arrays, asked: KindOption = "auto") -> Kind:
    """The requested kind, or else the kind inferred from the values.

    Args:
        values: numbers by the name of their array; NaN where one is missing.
        asked: "auto", or a kind.

    Raises:
        DataError: there is no such kind, or the values are of another kind.
    """
    if asked == "auto":
        return infer_kind(values)
    if asked not in VALUES:
        raise DataError(f"there is no kind '{asked}'; give auto, {', '.join(VALUES)}")
    try:
        for name, x in values.items():
            refuse_other_values(x, asked, name)
    except DataError as error:
        found = infer_kind(values)
        raise DataError(
            f"kind '{asked}' was requested, but {error}. By its values the data is '{found}'"
        ) from None
    return asked


def refuse_other_values(x: np.ndarray, kind: Kind, name: str) -> None:
    """Raise where a value is not of a kind; missing values are allowed.

    Args:
        x: (frames, D).
        kind: the expected kind.
        name: of the array, for the message.

    Raises:
        DataError: with the first such value.
    """
    words, fits = VALUES[kind]
    for start in range(0, len(x), FRAMES_AT_ONCE):
        part = x[start : start + FRAMES_AT_ONCE]
        wrong = ~(fits(part) | np.isnan(part))
        if wrong.any():
            frame, feature = np.unravel_index(int(wrong.argmax()), wrong.shape)
            raise DataError(
                f"frame {start + frame} of '{name}' has {exact(part[frame, feature])} in feature "
                f"{feature}; with kind '{kind}' every value must be {words}"
            )


def infer_kind(values: Arrays) -> Kind:
    """The kind inferred from the values; missing values are ignored.

    Whole numbers above one are counts if they are stored as integers of more than a byte; bytes are
    usually grey values. A single feature with at most 32 different whole numbers is categorical.
    Floats are read as whole numbers only if some values are missing, which integers cannot express.

    >>> infer_kind({"train": np.array([[0.0, 1.0]]), "test": np.array([[0.5, np.nan]])})
    'unit'
    >>> infer_kind({"train": np.array([[0, 3]])})
    'count'
    >>> infer_kind({"train": np.array([[3], [6], [1]])})
    'categorical'
    """
    arrays = list(values.values())
    has_missing = any(np.isnan(x.min()) for x in arrays)
    alone = arrays[0].shape[1] == 1
    integers = all(x.dtype.kind in "ui" or has_missing for x in arrays)
    wide = integers and all(x.dtype.kind == "f" or x.dtype.itemsize > 1 for x in arrays)
    if _all_are("binary", arrays):
        return "binary"
    if _all_are("unit", arrays):
        return "unit"
    if not (integers and _all_are("count", arrays)):
        return "real"
    if alone and _are_symbols(arrays):
        return "categorical"
    return "count" if wide else "real"


def _all_are(kind: Kind, arrays: list[np.ndarray]) -> bool:
    """Whether every value that is not missing is of a kind."""
    _, fits = VALUES[kind]
    return all((fits(x) | np.isnan(x)).all() for x in arrays)


def _are_symbols(arrays: list[np.ndarray]) -> bool:
    """Whether a single feature of whole numbers is read as symbols, and not as counts.

    It is if it has at most 32 different values, such as the faces of a die.
    """
    if _all_are("categorical", arrays):
        return max(map(len, symbols_of(arrays))) <= MOST_SYMBOLS
    return False
