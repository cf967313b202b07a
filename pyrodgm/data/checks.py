"""Checks that arrays are valid sequences; each error says where the problem is and what to do.

Files and arrays from Python are checked by the same functions: `Sequences` calls them.
"""

from __future__ import annotations

import numpy as np

from pyrodgm.errors import DataError

LARGEST_WHOLE = 2**53  # beyond, double precision does not hold every whole number


def infinite(x: np.ndarray) -> np.ndarray:
    """True where a number is infinite as float32, in the shape of x.

    >>> infinite(np.array([1.0, np.nan, 1e300]))
    array([False, False,  True])
    """
    if x.dtype.kind != "f":
        return np.zeros(x.shape, bool)
    return np.abs(x) > np.finfo(np.float32).max


def check_table(name: str, x: np.ndarray) -> None:
    """Refuse arrays that are not a non-empty table of real numbers, (frames, features).

    Raises:
        DataError: with the first check that failed.
    """
    if x.dtype.kind not in "buif":
        raise DataError(
            f"'{name}' holds {x.dtype} values; expected booleans, integers or floats: "
            "encode them as numbers first"
        )
    if x.ndim != 2:
        raise DataError(
            f"'{name}' has shape {x.shape}; expected two dimensions (frames, features). "
            "A column: x[:, None]. Grey pictures: an array image_shape, (height, width). Sequences "
            "(N, T, D): "
            f"x.reshape(-1, D), with {name}_lengths = numpy.full(N, T)"
        )
    if x.size == 0:
        raise DataError(f"'{name}' is empty, shape {x.shape}; leave the array out or fill it")


def check_lengths(name: str, lengths: np.ndarray, x: np.ndarray) -> None:
    """Refuse lengths that do not cut the frames of a table into non-empty sequences.

    Args:
        name: of the frames, for messages.
        lengths: one per sequence, (N,).
        x: the frames, which are a table.

    Raises:
        DataError: with the first check that failed.
    """
    called = f"'{name}_lengths'"
    if lengths.ndim != 1 or lengths.dtype.kind not in "uif" or (lengths != lengths.round()).any():
        raise DataError(
            f"{called} has shape {lengths.shape} and type {lengths.dtype}; "
            "expected a vector of integers, one per sequence"
        )
    if (lengths < 1).any():
        row = int(np.argmax(lengths < 1))
        raise DataError(
            f"{called} gives sequence {row} the length {int(lengths[row])}; "
            "every sequence needs at least one frame: drop the empty ones"
        )
    if lengths.sum() != len(x):
        raise DataError(
            f"{called} adds up to {int(lengths.sum())} frames, but '{name}' has {len(x)}; "
            f"'{name}' must be all sequences end to end, without padding"
        )


def check_finite(name: str, x: np.ndarray, lengths: np.ndarray) -> None:
    """Refuse numbers that cannot be stored, and say where the first is; NaN is a missing value.

    Raises:
        DataError: some are infinite, or whole numbers that double precision would round.
    """
    bad, what = infinite(x), "infinite values (as float32)"
    how = "rescale them, or give NaN where a value is missing"
    if x.dtype.kind in "ui" and x.dtype.itemsize > 4:
        bad = (x > LARGEST_WHOLE) | (x < -LARGEST_WHOLE)
        what, how = "whole numbers beyond 2^53, which would be rounded", "subtract an offset"
    if not bad.any():
        return
    frame, feature = np.unravel_index(int(bad.argmax()), bad.shape)
    ends = np.cumsum(lengths)
    sequence = int(np.searchsorted(ends, frame, side="right"))
    raise DataError(
        f"'{name}' has {what}: {bad.sum()}, the first in sequence {sequence}, "
        f"frame {int(frame - ends[sequence] + lengths[sequence])}, feature {feature}; {how}"
    )


def check_held_out(name: str, held_out: np.ndarray, x: np.ndarray) -> None:
    """Refuse held-out counts that do not match the frames they are held out of.

    Raises:
        DataError: with the first check that failed.
    """
    if held_out.shape != x.shape or held_out.dtype.kind not in "buif":
        raise DataError(
            f"'{name}_held_out' has shape {held_out.shape} and type {held_out.dtype}; expected "
            f"counts of the same frames and features as '{name}', {x.shape}"
        )
    if not np.isfinite(held_out).all():
        raise DataError(
            f"'{name}_held_out' has NaN or infinity; where nothing is held out the count is 0"
        )
