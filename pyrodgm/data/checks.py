"""Can these arrays be sequences? Each refusal says where the trouble is and what to do."""

from __future__ import annotations

import difflib

import numpy as np

from pyrodgm.data.base import SPLITS, Kind
from pyrodgm.errors import DataError, did_you_mean

KEYS = tuple(f"{split}{suffix}" for split in SPLITS for suffix in ("", "_lengths"))
Arrays = dict[str, np.ndarray]


def check(arrays: Arrays, others: tuple[str, ...] = ()) -> tuple[Arrays, Arrays]:
    """Frames and lengths per split, once every check has passed.

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
    for split, x in frames.items():
        _check_frames(split, x)
        lengths[split] = arrays.get(f"{split}_lengths", np.ones(len(x), np.int64))
        _check_lengths(split, lengths[split], len(x))
        _check_finite(split, x, lengths[split])
    _check_dims({split: x.shape[1] for split, x in frames.items()})
    return frames, lengths


def infer_kind(frames: Arrays) -> Kind:
    """What the values of all splits are.

    >>> infer_kind({"train": np.array([[0.0, 1.0]]), "test": np.array([[0.5, 1.0]])})
    'unit'
    """
    if all(((x == 0) | (x == 1)).all() for x in frames.values()):
        return "binary"
    unit = all(x.min() >= 0 and x.max() <= 1 for x in frames.values())
    return "unit" if unit else "real"


def missing(x: np.ndarray) -> np.ndarray:
    """True where a number is NaN or not finite as float32, in the shape of x.

    >>> missing(np.array([1.0, np.nan, 1e300]))
    array([False,  True,  True])
    """
    if x.dtype.kind != "f":
        return np.zeros(x.shape, bool)
    return ~(np.abs(x) <= np.finfo(np.float32).max)


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
    """Refuse NaN and infinity, and say where the first one is."""
    if not (bad := missing(x)).any():
        return
    frame, feature = np.unravel_index(int(bad.argmax()), bad.shape)
    ends = np.cumsum(lengths)
    sequence = int(np.searchsorted(ends, frame, side="right"))
    raise DataError(
        f"'{split}' has missing values (NaN, or infinite as float32): {bad.sum()}, the first in "
        f"sequence {sequence}, frame {frame - ends[sequence] + lengths[sequence]}, "
        f"feature {feature}; they are not supported yet: fill them in or drop these sequences"
    )


def _check_dims(dims: dict[str, int]) -> None:
    """Refuse splits whose frames differ in the number of features."""
    if len(set(dims.values())) > 1:
        given = ", ".join(f"'{split}' {dim}" for split, dim in dims.items())
        raise DataError(
            f"the splits differ in features per frame: {given}; all must have the same, "
            "in the same order"
        )
