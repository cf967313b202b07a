"""Facts about frames that a data file can store beside their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyrodgm.errors import DataError

MIDI_NUMBERS = 128
CHANNELS = (1, 3)
SHOWN = 4  # numbers of a wrong array
FRAME_RATES = (0.1, 1000.0)  # limits of MIDI files and videos
FACTS = {  # what each array of the file must be
    "image_shape": "(height, width), or (channels, height, width) with 1 or 3 channels, positive "
    "numbers whose product is the number of features",
    "lowest_pitch": f"the MIDI number of feature 0, so that all are below {MIDI_NUMBERS}",
    "frame_rate": f"frames per second, from {FRAME_RATES[0]} to {FRAME_RATES[1]}",
    "words": "a word for every feature",
    "frame_labels": "a word for every frame of the longest sequence",
    "modes": "finite numbers, (modes, features), with mode_std beside them",
    "mode_std": "a positive number, the standard deviation around a mode, with modes beside it",
}


def facts_of(arrays: Mapping[str, np.ndarray], dim: int, longest: int) -> dict[str, Any]:
    """The facts as fields of `DataInfo`.

    Args:
        arrays: those of a file that are facts, by name.
        dim: features per frame, D.
        longest: frames of the longest sequence.

    Raises:
        DataError: a fact is not valid.

    >>> facts_of({"words": np.array(["war", "peace"]), "frame_rate": np.array(2)}, 2, 5)
    {'words': ('war', 'peace'), 'frame_rate': 2.0}
    """
    fits = {
        "image_shape": lambda x: is_image_shape(x) and int(x.prod()) == dim,
        "lowest_pitch": lambda x: (
            _whole(x) and x.size == 1 and 0 <= int(x.item()) <= MIDI_NUMBERS - dim
        ),
        "frame_rate": lambda x: (
            x.dtype.kind in "uif"
            and x.size == 1
            and FRAME_RATES[0] <= float(x.item()) <= FRAME_RATES[1]
        ),
        "words": lambda x: x.dtype.kind == "U" and x.shape == (dim,),
        "frame_labels": lambda x: x.dtype.kind == "U" and x.shape == (longest,),
        "modes": lambda x: _finite(x) and x.ndim == 2 and len(x) > 0 and x.shape[1] == dim,
        "mode_std": lambda x: _finite(x) and x.size == 1 and float(x.item()) > 0,
    }
    for name, x in arrays.items():
        if not fits[name](x):
            shown = f", and is {x.tolist()}" if x.size <= SHOWN else ""
            raise DataError(
                f"'{name}' has shape {x.shape} and type {x.dtype}{shown}; expected {FACTS[name]} "
                f"({dim} features, {longest} frames at most here)"
            )
    if ("modes" in arrays) != ("mode_std" in arrays):
        raise DataError("'modes' and 'mode_std' belong together, but one of them is missing")
    plain = {
        "lowest_pitch": lambda x: int(x.item()),
        "frame_rate": lambda x: float(x.item()),
        "modes": lambda x: tuple(tuple(map(float, point)) for point in x.tolist()),
        "mode_std": lambda x: float(x.item()),
    }
    return {name: plain.get(name, lambda x: tuple(x.tolist()))(x) for name, x in arrays.items()}


def is_image_shape(x: np.ndarray) -> bool:
    """Whether numbers are height and width, with 1 or 3 channels in front if there are three."""
    sized = _whole(x) and x.shape in ((2,), (3,)) and int(x.min()) > 0
    return sized and (len(x) == 2 or int(x[0]) in CHANNELS)


def _finite(x: np.ndarray) -> bool:
    return x.dtype.kind in "uif" and bool(np.isfinite(x).all())


def _whole(x: np.ndarray) -> bool:
    return x.dtype.kind in "ui"
