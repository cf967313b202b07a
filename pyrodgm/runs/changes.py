"""What may change when a run is resumed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from pyrodgm.errors import ChangedWarning, RunFolderError, did_you_mean
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.rates import SHAPES

CHANGEABLE = ("steps", "time_limit", "patience", "device")


def refuse_changes(changes: Iterable[str]) -> None:
    """Refuse options of training that are fixed from the start of a run.

    Raises:
        RunFolderError: there are some, or there is no such option.
    """
    known = {field.name for field in fields(FitOptions)}
    if unknown := [key for key in changes if key not in known]:
        raise RunFolderError(
            f"there is no option of training '{unknown[0]}'; {did_you_mean(unknown[0], known)}"
        )
    if fixed := [f"fit.{key}" for key in changes if key not in CHANGEABLE]:
        raise RunFolderError(
            f"{', '.join(fixed)} cannot change when a run is resumed; "
            f"only {', '.join(CHANGEABLE)} can"
        )


def refuse_after_restarts(changes: Mapping[str, Any], options: FitOptions) -> None:
    """Refuse changes that would have changed earlier ones of several restarts.

    Raises:
        RunFolderError: there are some.
    """
    fixed = [f"fit.{key}" for key in changes if key != "device"]
    if options.restarts > 1 and fixed:
        raise RunFolderError(
            f"{', '.join(fixed)} cannot change with several restarts, because the earlier ones "
            "would have ended differently; only device can"
        )


def warn_of_rates(
    before: Mapping[str, Any], changes: Mapping[str, Any], options: FitOptions
) -> None:
    """Say that falling learning rates follow the new end of a run, if it has one."""
    ends = changes.keys() & {"steps", "time_limit"}
    new = [f"fit.{key}" for key in sorted(ends) if changes[key] != before.get(key)]
    if new and options.lr_schedule in SHAPES:
        warnings.warn(
            f"{' and '.join(new)} changed, and fit.lr_schedule is '{options.lr_schedule}': the "
            "learning rate goes on as in a run of the new length, after steps with the rates of "
            "the old one; a new run of that length may end better",
            ChangedWarning,
            stacklevel=3,
        )
