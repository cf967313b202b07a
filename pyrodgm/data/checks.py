"""Can these arrays be sequences? Each refusal says where the trouble is and what to do."""

from __future__ import annotations

import difflib

import numpy as np

from pyrodgm.data.base import SPLITS
from pyrodgm.data.kinds import Arrays
from pyrodgm.errors import DataError, did_you_mean

KEYS = tuple(f"{split}{suffix}" for split in SPLITS for suffix in ("", "_lengths", "_held_out"))


def check(arrays: Arrays, others: tuple[str, ...] = ()) -> tuple[Arrays, Arrays, Arrays]:
    """Frames, lengths and what is held out, per split, once every check has passed.

    Args:
        arrays: the arrays of the format that are there.
        others: names of further arrays, searched for misspelt ones.

    Raises:
        DataError: with the first check that failed.

    >>> check({"train": np.zeros((2, 3))})[1]
    {'train': array([1, 1])}
    """
    _check_names(arrays, others)
    frames = {split: arrays[split] for split in SPLITS if split in arrays}
    lengths: Arrays = {}
    held_out: Arrays = {}
    for split, x in frames.items():
        _check_frames(split, x)
        lengths[split] = arrays.get(f"{split}_lengths", np.ones(len(x), np.int64))
        _check_lengths(split, lengths[split], len(x))
        _check_finite(split, x, lengths[split])
        _check_observed(split, x)
        if f"{split}_held_out" in arrays:
            held_out[split] = arrays[f"{split}_held_out"]
            _check_held_out(split, held_out[split], x)
    _check_dims({split: x.shape[1] for split, x in frames.items()})
    return frames, lengths, held_out


def infinite(x: np.ndarray) -> np.ndarray:
    """True where a number is infinite as float32, in the shape of x.

    >>> infinite(np.array([1.0, np.nan, 1e300]))
    array([False, False,  True])
    """
    if x.dtype.kind != "f":
        return np.zeros(x.shape, bool)
    return np.abs(x) > np.finfo(np.float32).max


def _check_names(arrays: Arrays, others: tuple[str, ...]) -> None:
    absent = [name for name in KEYS if name not in arrays]
    for name in others:
        # A misspelt train_lengths must not silently turn sequences into independent rows.
        if close := difflib.get_close_matches(name, absent, n=1, cutoff=0.8):
            raise DataError(f"unknown array '{name}'; did you mean '{close[0]}'? Rename it")
    if "train" not in arrays:
        hint = did_you_mean("train", [*arrays, *others])
        raise DataError(f"there is no array 'train'; {hint}")
    for split in SPLITS:
        with_lengths = f"{split}_lengths" in arrays
        if split in arrays and with_lengths != ("train_lengths" in arrays):
            raise DataError(
                f"'train' and '{split}' differ: one has lengths and the other has none; "
                "give every split its lengths, or none"
            )


def _check_frames(split: str, x: np.ndarray) -> None:
    """Refuse what is not a table of real numbers, (frames, features), with at least one of each."""
    if x.dtype.kind not in "buif":
        raise DataError(
            f"'{split}' holds {x.dtype} values; expected booleans, integers or floats: "
            "encode them as numbers first"
        )
    if x.ndim != 2:
        raise DataError(
            f"'{split}' has shape {x.shape}; expected two dimensions (frames, features). "
            "A column: x[:, None]. Pictures: x.reshape(len(x), -1). Sequences (N, T, D): "
            f"x.reshape(-1, D), with {split}_lengths = numpy.full(N, T)"
        )
    if x.size == 0:
        raise DataError(f"'{split}' is empty, shape {x.shape}; leave the array out or fill it")


def _check_lengths(split: str, lengths: np.ndarray, num_frames: int) -> None:
    """Refuse lengths that do not cut `num_frames` frames into non-empty sequences."""
    name = f"{split}_lengths"
    if lengths.ndim != 1 or lengths.dtype.kind not in "ui":
        raise DataError(
            f"'{name}' has shape {lengths.shape} and type {lengths.dtype}; "
            "expected a vector of integers, one per sequence"
        )
    if (lengths < 1).any():
        row = int(np.argmax(lengths < 1))
        raise DataError(
            f"'{name}' gives sequence {row} the length {lengths[row]}; "
            "every sequence needs at least one frame: drop the empty ones"
        )
    if lengths.sum() != num_frames:
        raise DataError(
            f"'{name}' adds up to {lengths.sum()} frames, but '{split}' has {num_frames}; "
            f"'{split}' must be all sequences end to end, without padding"
        )


def _check_finite(split: str, x: np.ndarray, lengths: np.ndarray) -> None:
    """Refuse infinity, and say where the first one is; NaN is a value that is missing."""
    if not (bad := infinite(x)).any():
        return
    frame, feature = np.unravel_index(int(bad.argmax()), bad.shape)
    ends = np.cumsum(lengths)
    sequence = int(np.searchsorted(ends, frame, side="right"))
    raise DataError(
        f"'{split}' has infinite values (as float32): {bad.sum()}, the first in sequence "
        f"{sequence}, frame {frame - ends[sequence] + lengths[sequence]}, feature {feature}; "
        "rescale them, or give NaN where a value is missing"
    )


def _check_observed(split: str, x: np.ndarray) -> None:
    """Refuse a split of which nothing was observed."""
    if np.isnan(x).all():
        raise DataError(
            f"'{split}' is NaN throughout, so nothing in it was observed; "
            "leave the array out or fill it"
        )


def _check_held_out(split: str, held_out: np.ndarray, x: np.ndarray) -> None:
    """Refuse held-out counts that do not go with the frames they are held out of."""
    if held_out.shape != x.shape or held_out.dtype.kind not in "buif":
        raise DataError(
            f"'{split}_held_out' has shape {held_out.shape} and type {held_out.dtype}; expected "
            f"counts of the same frames and features as '{split}', {x.shape}"
        )
    if not np.isfinite(held_out).all():
        raise DataError(
            f"'{split}_held_out' has NaN or infinity; where nothing is held out the count is 0"
        )


def _check_dims(dims: dict[str, int]) -> None:
    """Refuse splits whose frames differ in the number of features."""
    if len(set(dims.values())) > 1:
        given = ", ".join(f"'{split}' {dim}" for split, dim in dims.items())
        raise DataError(
            f"the splits differ in features per frame: {given}; all must have the same, "
            "in the same order"
        )
