"""Remarks on the data that a user should read before training."""

from __future__ import annotations

import warnings

import numpy as np

from pyrodgm.data.base import Splits
from pyrodgm.data.sound import audio_in_words
from pyrodgm.errors import DataWarning

SHOWN = 8  # features that a remark lists


def remarks(splits: Splits) -> tuple[str, ...]:
    """Notes of the reader of the data, and constant features; one sentence each."""
    return (*splits.notes, *constant_features(np.array(splits.info.std) == 0))


def warn_of(splits: Splits) -> None:
    """A `DataWarning` with all remarks, if there are any."""
    if noticed := remarks(splits):
        warnings.warn(f"{splits.info.name}: {'; '.join(noticed)}", DataWarning, stacklevel=6)


def constant_features(constant: np.ndarray) -> list[str]:
    """A sentence that lists the features that never change in training; empty if all do.

    Args:
        constant: whether a feature is, (D,).

    >>> constant_features(np.array([True, False]))
    ['1 of 2 features never change in train: 0']
    """
    if not (places := np.flatnonzero(constant).tolist()):
        return []
    shown = ", ".join(map(str, places[:SHOWN])) + (", ..." if len(places) > SHOWN else "")
    return [f"{len(places)} of {len(constant)} features never change in train: {shown}"]


def summary(splits: Splits) -> str:
    """Kind and sizes of the data in a line."""
    info = splits.info
    parts = []
    for name, part in splits.items():
        count = len(part)
        if info.max_length == 1:
            parts.append(f"{name} {count} row{'s' * (count > 1)}")
            continue
        low, high = int(part.lengths.min()), int(part.lengths.max())
        lengths = f"{low}" if low == high else f"{low} to {high}"
        parts.append(f"{name} {count} sequence{'s' * (count > 1)} of {lengths} frames")
    features = f"{info.dim} feature{'s' * (info.dim > 1)}"
    if info.image_shape:
        features += f" (pictures of {' x '.join(map(str, info.image_shape))})"
    if info.audio:
        features += f" (samples at {audio_in_words(info.audio)})"
    return f"{info.name}: {info.kind}, {features}; {', '.join(parts)}"
