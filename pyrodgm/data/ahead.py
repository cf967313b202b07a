"""Future frames, whose values are missing and whose conditions are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyrodgm.data.base import Sequences
from pyrodgm.data.conditions import refuse_unknown
from pyrodgm.data.ragged import DAMAGED
from pyrodgm.errors import DataError, UsageError

NONE = "conditions were given, but the data of this model has none"


def with_frames_to_come(
    sequences: Sequences, conditions: np.ndarray, horizon: int, *, start: int | None = None
) -> Sequences:
    """The same sequences, extended by missing frames with given conditions.

    Args:
        sequences: N of them, with U conditions.
        conditions: of the frames after the end of each, (N, H', U) with H' >= H, or (H', U), the
            same for all sequences.
        horizon: how many frames to add, H.
        start: the first frame that will be forecast; the end of each sequence if not given.

    Raises:
        DataError: the sequences have no conditions, or a different number of them.
        UsageError: the conditions cover fewer frames than the horizon, or no forecast reaches the
            frames that they are of.

    >>> rows = Sequences(np.ones((2, 1), np.uint8), np.array([2]), conditions=np.zeros((2, 3)))
    >>> with_frames_to_come(rows, np.zeros((5, 3)), 2).batch([0]).seen.squeeze().tolist()
    [True, True, False, False]
    """
    given = _needed(sequences)
    lengths = sequences.lengths
    if start is not None and not ((start < lengths + horizon) & (start + horizon > lengths)).any():
        raise UsageError(
            f"forecasts of {horizon} frames from frame {start} on reach no frames after the end of "
            "a sequence, which the conditions are of; leave these out, or start at 'end'"
        )
    ahead = _checked(conditions, (len(sequences), horizon, given.shape[-1]))
    blank = np.full((len(sequences), horizon, sequences.x.shape[1]), np.nan, np.float32)
    ends = np.cumsum(sequences.lengths)[:-1]

    def joined(before: Tensor, after: np.ndarray) -> np.ndarray:
        pairs = zip(np.split(before.numpy(), ends), after, strict=True)
        return np.concatenate([frames for pair in pairs for frames in pair])

    x, conditions = joined(sequences.x, blank), joined(given, ahead)
    longer = Sequences(x, sequences.lengths + horizon, conditions=conditions)
    longer.fill, longer.centre, longer.scale = sequences.fill, sequences.centre, sequences.scale
    return longer


def conditions_to_draw(
    size: int,
    sequences: Sequences | None,
    num: int,
    length: int,
    conditions: np.ndarray | None = None,
) -> Tensor | None:
    """Conditions of frames that a model draws, (num, length, U); None for data without any.

    Args:
        size: conditions of every frame of the model's data, U.
        sequences: the source of the conditions if they are not given.
        num: how many sequences are drawn.
        length: frames of each.
        conditions: (num, T, U) or (T, U) with T >= length; if not given, those of the sequences
            that are long enough, used in turn.

    Raises:
        DataError: the data has no conditions, or a different number of them.
        UsageError: the conditions cover too few frames, or no sequence is long enough.
    """
    if conditions is not None:
        if not size:
            raise DataError(NONE)
        return torch.from_numpy(_checked(conditions, (num, length, size)).astype(np.float64))
    if sequences is None or sequences.conditions is None:
        return None
    long = np.flatnonzero(sequences.lengths >= length)
    if not len(long):
        raise UsageError(
            f"drawing {length} frames needs their conditions, but the longest sequence of the "
            f"split has {sequences.lengths.max()} frames; draw fewer, or give conditions"
        )
    given = sequences.batch(np.resize(long, num)).conditions
    return None if given is None else given[:, :length]


def read_conditions(path: Path) -> np.ndarray:
    """Conditions from a file: an npy, or an npz with an array ``conditions``.

    Raises:
        DataError: it is neither.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            return found["conditions"]
    except (*DAMAGED, KeyError) as error:
        raise DataError(
            f"cannot read conditions from '{path}' ({error}); expected an npy file, or an npz "
            "with an array 'conditions'"
        ) from error


def _needed(sequences: Sequences) -> Tensor:
    """The conditions of sequences that must have some."""
    if sequences.conditions is None:
        raise DataError(NONE)
    return sequences.conditions


def _checked(conditions: np.ndarray, wanted: tuple[int, int, int]) -> np.ndarray:
    """Conditions of the wanted shape (N, T, U), cut to T frames or shared by all sequences."""
    conditions = np.asarray(conditions)
    num, length, size = wanted
    shape = conditions.shape
    fits = shape[-1:] == (size,) and (len(shape) == 2 or (len(shape) == 3 and shape[0] == num))
    if not fits or conditions.dtype.kind not in "buif":
        raise DataError(
            f"conditions have shape {shape} and type {conditions.dtype}; expected numbers of shape "
            f"({num}, frames, {size}), or (frames, {size}) for the same in all sequences"
        )
    if shape[-2] < length:
        raise UsageError(
            f"conditions are given for {shape[-2]} frames, but {length} are needed; give more, or "
            "choose fewer frames"
        )
    refuse_unknown("conditions", conditions)
    return np.broadcast_to(conditions[..., :length, :], wanted)
