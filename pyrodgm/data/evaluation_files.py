"""Files with evaluation data of a fitted model.

An npz file holds an array x (frames, D) under any name, with lengths (N,) if it is several
sequences end to end; or x (N, T, D), padded if there are lengths; or any of train, valid and test,
as in files to fit. An npy file holds one such array.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np

from pyrodgm.data.base import SPLITS, DataInfo, Sequences
from pyrodgm.data.evaluation import EvaluationData, sequences_of
from pyrodgm.data.facts import FACTS
from pyrodgm.data.names import FURTHER, near
from pyrodgm.data.ragged import DAMAGED, array_of, names_of, refuse_other_formats
from pyrodgm.errors import DataError


def read_evaluation(path: str | Path, info: DataInfo) -> EvaluationData:
    """All sequences of a file, prepared for a fitted model.

    Args:
        path: an npz or npy file.
        info: facts of the data that the model was fitted on.

    Raises:
        DataError: the file cannot be read, the array of frames is ambiguous, a name is probably
            misspelt, or the values do not match those of the fit.
    """
    path = Path(path).expanduser()
    if path.suffix == ".npy" and path.is_file():
        parts = {path.stem: sequences_of(path.stem, _npy(path), info)}
        return EvaluationData.of(path.stem, parts, info, notes=_no_lengths(parts, [], info))
    refuse_other_formats(path)
    names = names_of(path)
    kinds = (*FURTHER, *(["labels"] if info.classes else []))
    frames = _frames(path, names, kinds)
    beside = _beside(frames, names, kinds)
    known = {*frames, *beside.values()}
    rest = [name for name in names if name not in known]
    _refuse_near_misses(frames, beside, rest)
    parts = {}
    for name in frames:
        further = {f: array_of(path, beside[name, f]) for f in kinds if (name, f) in beside}
        parts[name] = sequences_of(name, array_of(path, name), info, **further)
    notes = (f"ignored arrays: {', '.join(rest)}",) if rest else ()
    cut = [name for name in frames if (name, "lengths") in beside]
    notes = (*notes, *_no_lengths(parts, cut, info))
    return EvaluationData.of(path.stem, parts, info, notes=notes)


def _npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise DataError(
            f"'{path}' cannot be read ({error}); expected one array of plain numbers"
        ) from error


def _frames(path: Path, names: list[str], kinds: tuple[str, ...]) -> list[str]:
    """Names of the arrays of frames: those of splits, or else the only possible one.

    Raises:
        DataError: there is none, or more than one possible array.
    """
    if splits := [split for split in SPLITS if split in names]:
        return splits
    found = [name for name in names if name not in FACTS and not name.endswith(kinds)]
    for name in found:
        _refuse_near_misses([other for other in found if other != name][:1], {}, [name])
    if len(found) != 1:
        what = f"several arrays: {', '.join(found)}" if found else "no array of frames"
        raise DataError(
            f"'{path}' has {what}; keep one array of frames, with its lengths, or name the array "
            "to use 'test'"
        )
    return found


def _beside(
    frames: list[str], names: list[str], kinds: tuple[str, ...]
) -> dict[tuple[str, str], str]:
    """Names of the arrays of some kinds beside each array of frames, such as its lengths.

    With a single array of frames, these names need no prefix.
    """
    found = {}
    for name, further in product(frames, kinds):
        spellings = [f"{name}_{further}", *([further] if len(frames) == 1 else [])]
        if there := [spelling for spelling in spellings if spelling in names]:
            found[name, further] = there[0]
    return found


def _refuse_near_misses(
    frames: list[str], beside: Mapping[tuple[str, str], str], rest: list[str]
) -> None:
    """Refuse names that are close to a known name.

    Raises:
        DataError: with the first of them.
    """
    meanings = {}
    for name, further in product(frames, FURTHER):
        if (name, further) not in beside:
            meanings.setdefault(further, f"{name}_{further}")
            meanings[f"{name}_{further}"] = f"{name}_{further}"
    if set(frames) & set(SPLITS):
        meanings |= {split: split for split in SPLITS if split not in frames}
    for name in rest:
        if name not in FACTS and (meant := near(name, meanings)):
            raise DataError(f"unknown array '{name}'; did you mean '{meant}'? Rename it")


def _no_lengths(
    parts: Mapping[str, Sequences], cut: Iterable[str], info: DataInfo
) -> tuple[str, ...]:
    """How frames without lengths were read."""
    rows = info.max_length == 1
    what = "independent rows" if rows else "one sequence each"
    whole = [name for name in parts if name not in cut and (rows or len(parts[name]) == 1)]
    return (f"no lengths of {', '.join(whole)}: its frames are read as {what}",) if whole else ()
