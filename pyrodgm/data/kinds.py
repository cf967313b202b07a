"""What are these values: zeros and ones, grey values, counts, or real numbers?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from pyrodgm.data.info import Kind
from pyrodgm.errors import DataError

KindOption = Literal["auto", "binary", "unit", "count", "real"]
Arrays = dict[str, np.ndarray]
FRAMES_AT_ONCE = 2**14  # bounds the memory of looking at them
MOST = (
    2**24
)  # of one kind in a frame; single precision, in which they are stored, skips numbers beyond

VALUES: dict[Kind, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "binary": ("0 or 1", lambda x: (x == 0) | (x == 1)),
    "unit": ("between 0 and 1", lambda x: (x >= 0) & (x <= 1)),
    "count": (
        f"a whole number from zero to {MOST}",
        lambda x: (x >= 0) & (x <= MOST) & (x == np.trunc(x)),
    ),
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
    try:
        for name, x in values.items():
            refuse_other_values(x, asked, name)
    except DataError as error:
        found = infer_kind(values)
        raise DataError(
            f"kind '{asked}' was asked for, but {error}. By its values the data is '{found}'"
        ) from None
    return asked


def refuse_other_values(x: np.ndarray, kind: Kind, name: str) -> None:
    """Raise where a value is not of a kind; missing ones are of any.

    Args:
        x: (frames, D).
        kind: which values should have.
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
                f"frame {start + frame} of '{name}' has {part[frame, feature]:g} in feature "
                f"{feature}; of kind '{kind}' every value must be {words}"
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
