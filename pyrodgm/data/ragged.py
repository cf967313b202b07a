"""The file format for users' data: an npz with the sequences of a split end to end, and lengths.

    train (frames, D), train_lengths (sequences,), and the same for valid and test

Frames that are pictures may be (frames, H, W, C), (frames, C, H, W), or (frames, H, W) with
image_shape; they are stored as rows, D = C H W, channel by channel (see `pyrodgm.data.pictures`).

Arrays without lengths are independent rows, that is, sequences of one frame. NaN is a missing
value. Optional arrays are train_held_out, valid_held_out and test_held_out, (frames, D), further
counts of the same frames for evaluation alone; train_conditions, valid_conditions and
test_conditions, (frames, conditions), inputs that are not modelled; train_labels, valid_labels and
test_labels, (frames,), classes for evaluation, which can be conditions too; and image_shape,
lowest_pitch, frame_rate, words, frame_labels, modes and mode_std, which describe the frames (see
`pyrodgm.data.facts`).
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyrodgm.access import access_in_words
from pyrodgm.data import local
from pyrodgm.data.base import SPLITS, Kind, Sequences, Splits
from pyrodgm.data.checks import check_table
from pyrodgm.data.conditions import constant_conditions
from pyrodgm.data.facts import FACTS, facts_of
from pyrodgm.data.info import ImageShape
from pyrodgm.data.kinds import Arrays, KindOption, choose_kind
from pyrodgm.data.labels import label_name, labels_beside, with_labels
from pyrodgm.data.names import KEYS, check_names
from pyrodgm.data.pictures import as_tables, grey_bytes
from pyrodgm.data.splitting import held_out
from pyrodgm.errors import DataError

NO_LENGTHS = "no 'train_lengths': rows are independent, and not the frames of sequences"
PIANO_KEYS, LOWEST_PIANO_PITCH = 88, 21
TEXT = {".csv": ",", ".tsv": "\t", ".txt": None}  # separators of numbers
CONVERT = "numpy.savez_compressed('data.npz', train=frames, train_lengths=lengths)"
# The errors that zipfile and NumPy raised in tests on files with bytes changed at random.
DAMAGED = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read(
    path: str | Path,
    *,
    kind: KindOption = "auto",
    image_shape: ImageShape | None = None,
    lowest_pitch: int | None = None,
    frame_rate: float | None = None,
    labels: bool = False,
    split_seed: int = 0,
) -> Splits:
    """Read a file in the ragged format; `Splits.notes` says what was inferred.

    Args:
        path: the npz file.
        kind: of the values, "binary", "unit", "categorical", "count" or "real"; "auto" infers it
            from them. With "unit", bytes up to 255 are divided by 255.
        image_shape: (height, width) or (channels, height, width) where a frame is a picture, if the
            file has no such array.
        lowest_pitch: MIDI number of feature 0, if the file has no such array; 21 for binary data
            with 88 features.
        frame_rate: frames per second, if the file has no such array; 10 by default.
        labels: whether the labels of frames, train_labels and so on, are conditions, with a column
            of zeros and ones for each class.
        split_seed: for holding out a missing valid or test split, by sequence.

    Raises:
        DataError: the file cannot be read, its arrays are not sequences, or its values are not of
            the requested kind.
    """
    path = Path(path).expanduser()
    arrays, others = read_arrays(path)
    check_names(arrays, others)
    given = {"image_shape": image_shape, "lowest_pitch": lowest_pitch, "frame_rate": frame_rate}
    known = read_facts(path) | {
        n: np.array(value) for n, value in given.items() if value is not None
    }
    named = {split: label_name(split) for split in SPLITS if label_name(split) in others}
    rest = [name for name in others if name not in named.values()]
    splits = splits_of(
        path.stem,
        arrays,
        known,
        {split: array_of(path, name) for split, name in named.items()},
        kind=kind,
        labels=labels,
        split_seed=split_seed,
    )
    notes = [f"ignored arrays: {', '.join(rest)}"] if rest else []
    return replace(splits, sha256=local.sha256(path), notes=(*notes, *splits.notes))


def splits_of(
    name: str,
    arrays: Arrays,
    known: Arrays,
    classes: Arrays,
    *,
    kind: KindOption = "auto",
    labels: bool = False,
    split_seed: int = 0,
) -> Splits:
    """Splits of arrays that are named as in a file; `Splits.notes` says what was inferred.

    Args:
        name: of the data.
        arrays: frames, and what belongs to them, by name.
        known: facts about the frames, unchecked.
        classes: labels of frames by split, for evaluation or as conditions.
        kind: of the values; see `read`.
        labels: whether the labels are conditions.
        split_seed: for holding out a missing valid or test split.

    Raises:
        DataError: the arrays are not sequences, or their values are not of the requested kind.
    """
    frames, shape = as_tables(
        {split: arrays[split] for split in SPLITS if split in arrays}, known.get("image_shape")
    )
    frames = grey_bytes(frames) if kind == "unit" else frames
    arrays, known = arrays | frames, known | ({} if shape is None else {"image_shape": shape})
    of_frames, doubts = labels_beside(arrays, classes)
    arrays, found = with_labels(arrays, classes) if labels else (arrays, ())
    parts = {split: _sequences(arrays, split, of_frames.get(split)) for split in frames}
    chosen = _kind(arrays, kind)
    dim = frames["train"].shape[1]
    longest = max(int(part.lengths.max()) for part in parts.values())
    facts = facts_of(known, dim, longest)
    if "lowest_pitch" not in facts and (chosen, dim) == ("binary", PIANO_KEYS):
        facts["lowest_pitch"] = LOWEST_PIANO_PITCH
    if chosen == "categorical" and "image_shape" in facts:
        raise DataError(
            "image_shape says that frames are pictures, but the data is categorical; leave it out, "
            "or use kind 'unit', 'binary' or 'real'"
        )
    notes = [] if labels else doubts
    notes += [] if "train_lengths" in arrays else [NO_LENGTHS]
    notes += _doubts(frames, chosen) if kind == "auto" else []
    notes += _hold_out(parts, split_seed)
    notes += constant_conditions(parts["train"].conditions)
    splits = Splits.of(name, chosen, parts, classes=found, **facts)
    return replace(splits, notes=(*notes, *splits.notes))


def write(path: str | Path, splits: Splits) -> None:
    """Write sequences in the ragged format; the file appears complete or not at all.

    Args:
        path: of the file; replaced if it exists.
        splits: the sequences to write, and the facts about their frames.

    Raises:
        OSError: the folder is missing or full; an older file is untouched.
    """
    path = Path(path)
    arrays: Arrays = {}
    for split, part in splits.items():
        arrays[split] = _as_given(part.x.numpy(), splits.info.kind)
        arrays[f"{split}_lengths"] = part.lengths
        if part.held_out is not None:
            arrays[f"{split}_held_out"] = _as_given(part.held_out.numpy(), "count")
        if part.conditions is not None:
            arrays[f"{split}_conditions"] = part.conditions.numpy()
        if part.labels is not None:
            arrays[label_name(split)] = part.labels
    facts = {name: getattr(splits.info, name) for name in FACTS}
    arrays |= {name: np.array(fact) for name, fact in facts.items() if fact not in (None, ())}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        unfinished = Path(folder, path.name)
        with unfinished.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def read_arrays(path: Path) -> tuple[Arrays, tuple[str, ...]]:
    """The arrays of the format that a file has, unchecked, and the names of its other arrays.

    Raises:
        DataError: there is no such file, or it is not an npz of plain arrays.
    """
    refuse_other_formats(path)
    names = names_of(path)
    arrays = {name: array_of(path, name) for name in names if name in KEYS}
    return arrays, tuple(name for name in names if name not in (*KEYS, *FACTS))


def read_facts(path: Path) -> Arrays:
    """The arrays with facts about the frames, unchecked; `read_arrays` must accept the file.

    Raises:
        DataError: one of them is not a plain array.
    """
    return {name: array_of(path, name) for name in names_of(path) if name in FACTS}


def names_of(path: Path) -> list[str]:
    """The names of all arrays in an npz file.

    Raises:
        DataError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive.files
    except DAMAGED as error:
        raise DataError(f"'{path}' cannot be read ({error}); is it complete?") from error


def array_of(path: Path, name: str) -> np.ndarray:
    """One array of an npz file.

    Raises:
        DataError: it is damaged, or holds pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except DAMAGED as error:
        if "allow_pickle" not in str(error):
            raise DataError(f"'{path}' cannot be read ({error}); is it complete?") from error
        how = (
            f"{name} = numpy.array({name}, dtype=str)"
            if name in FACTS
            else (
                f"join the sequences end to end: frames = numpy.concatenate(sequences); {CONVERT}"
            )
        )
        raise DataError(
            f"'{name}' in '{path}' holds Python objects, which are stored as pickles. Reading a "
            f"pickle can run arbitrary code, so it is refused. Store plain values: {how}"
        ) from error


def refuse_other_formats(path: Path) -> None:
    """Refuse a file that is not an npz, and say how to convert it.

    Raises:
        DataError: it is not an npz.
    """
    with access_in_words(DataError):
        if not path.is_file():
            raise DataError(f"there is no file '{path}'")
        path.open("rb").close()  # otherwise an unreadable file would be reported as damaged
    if path.suffix in {".pkl", ".pickle"}:
        raise DataError(
            f"'{path}' is a pickle. Reading a pickle can run arbitrary code, so it is refused. If "
            f"you trust it, load it yourself and store it with {CONVERT}"
        )
    if path.suffix == ".npy":
        raise DataError(
            f"'{path}' holds one array, but splits and lengths need several; "
            f"frames = numpy.load({path.name!r}); {CONVERT}"
        )
    if path.suffix in TEXT:
        raise DataError(
            f"'{path}' is a text file, but splits and lengths need several arrays; frames = "
            f"numpy.loadtxt({path.name!r}, delimiter={TEXT[path.suffix]!r}), with skiprows=1 if it "
            f"has a line of names; {CONVERT}"
        )
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"'{path}' is not an npz file, or is truncated; expected one written by {CONVERT}"
        )


def _kind(arrays: Arrays, asked: KindOption) -> Kind:
    """The kind of all values; held-out values must be counts."""
    beside = ("_lengths", "_conditions")
    values = {name: x for name, x in arrays.items() if not name.endswith(beside)}
    kind = choose_kind(values, asked)
    held_out = [name for name in values if name.endswith("_held_out")]
    if held_out and kind != "count":
        raise DataError(
            f"'{held_out[0]}' must be counts, but this data is '{kind}'; store counts as "
            "integers of more than a byte, or give the option kind=count"
        )
    return kind


def _sequences(arrays: Arrays, split: str, labels: np.ndarray | None) -> Sequences:
    """The sequences of one split, checked; rows are sequences of one frame."""
    x = arrays[split]
    check_table(split, x)
    lengths = arrays.get(f"{split}_lengths", np.ones(len(x), np.int64))
    beside = {name: arrays.get(f"{split}_{name}") for name in ("held_out", "conditions")}
    return Sequences(x, lengths, **beside, labels=labels, name=split)


def _as_given(x: np.ndarray, kind: Kind) -> np.ndarray:
    """Values in the type from which `read` infers their kind."""
    whole = kind in ("categorical", "count") and not np.isnan(x).any()
    return x.astype(np.uint32) if whole else x


def _doubts(frames: Arrays, kind: Kind) -> list[str]:
    """Notes on values whose inferred kind may not be the intended one."""
    if kind == "categorical":
        return [
            "a column of few different whole numbers is read as categories, which have no order; "
            "with kind=count (--set data.kind=count) they are counts, with kind=real measurements"
        ]
    if kind == "count":
        return [
            "whole numbers are read as counts; with kind=real (--set data.kind=real) they are not, "
            "and with kind=categorical they are symbols without an order"
        ]
    if kind == "real" and any(x.dtype == np.uint8 and x.max() > 1 for x in frames.values()):
        return [
            "bytes up to 255 are read as real numbers; with kind=unit (--set data.kind=unit) they "
            "are grey values, divided by 255"
        ]
    return []


def _hold_out(parts: dict[str, Sequences], seed: int) -> list[str]:
    """Move sequences from train to each missing split, in place, and say so."""
    total = len(parts["train"])
    missing = [split for split in SPLITS if split not in parts]
    if total <= len(missing):
        raise DataError(
            f"'train' has {total} sequence, and the file has no {' and no '.join(missing)}; "
            "cut it into several sequences with train_lengths, or add these arrays"
        )
    source = parts["train"]
    if missing:
        rows = held_out(total, missing, seed)
        parts |= {split: source.select(chosen) for split, chosen in rows.items()}
    return [
        f"no '{split}' in the file: {len(parts[split])} of {total} train sequences, drawn with "
        f"seed {seed}"
        for split in missing
    ]
