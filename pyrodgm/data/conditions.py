"""Conditions: features of frames that a model takes as inputs and does not model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyrodgm.data.moments import moments
from pyrodgm.errors import DataError


def check_conditions(name: str, conditions: np.ndarray, num_frames: int) -> None:
    """Refuse arrays that are not a table of finite numbers with a row for every frame.

    Args:
        name: name of the conditions in messages.
        conditions: (num_frames, U).
        num_frames: number of frames.

    Raises:
        DataError: with the first check that failed.
    """
    shape = conditions.shape
    if conditions.dtype.kind not in "buif" or len(shape) != 2 or shape[-1] == 0:
        raise DataError(
            f"{name} has shape {shape} and type {conditions.dtype}; expected numbers of shape "
            "(frames, conditions). A column: u[:, None]; categories: one column of 0 and 1 for each"
        )
    if shape[0] != num_frames:
        raise DataError(
            f"{name} has {shape[0]} rows, but there are {num_frames} frames; "
            "give one row for every frame, sequences end to end"
        )
    refuse_unknown(name, conditions)


def as_conditions(name: str, conditions: Any, num_frames: int) -> torch.Tensor:
    """Checked conditions of all frames in double precision, (num_frames, U).

    Args:
        name: name of the conditions in messages.
        conditions: a table of numbers.
        num_frames: number of frames.

    Raises:
        DataError: as of `check_conditions`.
    """
    conditions = np.asarray(conditions)
    check_conditions(name, conditions, num_frames)
    return torch.from_numpy(np.array(conditions, dtype=np.float64))


def constant_conditions(conditions: torch.Tensor | None) -> list[str]:
    """A sentence that lists the conditions that are constant in training; empty if none are."""
    std = condition_facts(conditions).get("condition_std", ())
    constant = [str(place) for place, spread in enumerate(std) if spread == 0]
    if not constant:
        return []
    return [
        f"{len(constant)} of {len(std)} conditions never change in train, so models ignore them: "
        f"{', '.join(constant)}"
    ]


def refuse_unknown(name: str, conditions: np.ndarray) -> None:
    """Refuse conditions that are missing or infinite, and say where the first is.

    Raises:
        DataError: some are.
    """
    if (known := np.isfinite(conditions)).all():
        return
    place = np.unravel_index(int((~known).argmax()), known.shape)
    raise DataError(
        f"{name} has {(~known).sum()} values that are NaN or infinite, the first at "
        f"[{', '.join(str(int(number)) for number in place)}]; conditions are not modelled, so "
        "every frame needs all of them: fill them in, or make a condition with missing values a "
        "feature of the frames"
    )


def refuse_other_conditions(parts: Mapping[str, torch.Tensor | None]) -> None:
    """Refuse splits that differ in the number of conditions per frame.

    Args:
        parts: conditions by split, (frames, U), or None.

    Raises:
        DataError: the splits differ.
    """
    counts = {split: 0 if given is None else given.shape[-1] for split, given in parts.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"'{split}' {count}" for split, count in counts.items())
        raise DataError(
            f"the splits differ in conditions per frame: {found}; all must have the same, in the "
            "same order"
        )


def condition_facts(conditions: torch.Tensor | None) -> dict[str, Any]:
    """Moments of the training conditions for `DataInfo`; empty without conditions.

    The standard deviation of a constant condition is exactly zero.
    """
    if conditions is None:
        return {}
    values = conditions.numpy()
    mean, std = moments(values)
    std = np.where(np.ptp(values, axis=0) > 0, std, 0)
    return {"condition_mean": tuple(mean.tolist()), "condition_std": tuple(std.tolist())}
