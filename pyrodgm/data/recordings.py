"""Recordings in a folder: every .wav file in it and in its subfolders is a sequence.

With subfolders train, valid and test, these are the splits. Splits that are missing are held out by
file, never by frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pyrodgm.data import local, wav
from pyrodgm.data.audio import Loudness, measured
from pyrodgm.data.base import SPLITS, DataInfo, Sequences, Splits
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.data.names import SYNONYMS
from pyrodgm.data.sound import check_frame_size, splits_of
from pyrodgm.data.splitting import held_out
from pyrodgm.display import counted
from pyrodgm.errors import DataError, UsageError

Unusable = Literal["refuse", "skip"]
SHOWN = 10  # files that a message lists


def read(
    path: str | Path,
    *,
    frame_size: int = 200,
    loudness: Loudness = "equal",
    unusable: Unusable = "refuse",
    split_seed: int = 0,
) -> Splits:
    """Read the recordings of a folder; `Splits.notes` says what was inferred.

    Samples are standardised by the mean and the standard deviation of the training samples.

    Args:
        path: the folder.
        frame_size: samples per frame; zeros fill the last frame of a recording.
        loudness: "equal" scales every recording to the same root mean square; "recorded" leaves it.
        unusable: what to do about files that cannot be read, are empty, have several channels or
            another sample rate than most: "refuse" names them all, "skip" leaves them out.
        split_seed: for holding out a missing valid or test split, by file.

    Raises:
        DataError: there are no .wav files, or some cannot be used.
        UsageError: frames without samples, or another loudness or use of files.
    """
    check_frame_size(frame_size)
    for name, given, known in (("loudness", loudness, Loudness), ("unusable", unusable, Unusable)):
        if given not in get_args(known):
            raise UsageError(f"{name} is {given!r}; give {' or '.join(get_args(known))}")
    folder = Path(path).expanduser()
    files = files_of(folder)
    rate, found, problems = read_files(folder, files)
    notes = list(refused(folder, problems, len(files), unusable))
    if not found:
        raise DataError(f"none of the {len(files)} .wav files in '{folder}' can be used")
    named, outside = _by_split(found, "train")
    if "train" not in named:
        raise DataError(
            f"'{folder}' has folders {', '.join(named)}, but none named train; add it, or rename "
            "them"
        )
    notes += outside
    notes += _hold_out(named, folder, split_seed)
    recordings = {split: [found[name] for name in names] for split, names in named.items()}
    audio = measured(recordings["train"], rate=rate, frame_size=frame_size, loudness=loudness)
    splits = splits_of(folder.resolve().name, recordings, audio)
    digest = local.folder_sha256(folder, files)
    return replace(splits, sha256=digest, notes=(*notes, *splits.notes))


def read_evaluation(path: str | Path, info: DataInfo) -> EvaluationData:
    """Recordings for a model that was fitted on sound, in frames with the constants of that.

    Args:
        path: a recording, or a folder; with subfolders train, valid or test, these are its parts.
        info: facts of the data that the model was fitted on.

    Raises:
        DataError: the model was fitted on other data than sound, or a file cannot be used.
    """
    path = Path(path).expanduser()
    if info.audio is None:
        raise DataError(
            f"the model was fitted on '{info.name}', which is not sound, but '{path}' is "
            f"{'a folder' if path.is_dir() else 'a recording'}; give an npz file"
        )
    single = path.suffix.lower() == ".wav" and path.is_file()
    folder, files = (path.parent, [path]) if single else (path, files_of(path))
    _, found, problems = read_files(folder, files, info.audio.rate)
    refused(folder, problems, len(files), "refuse")
    named, notes = ({path.stem: [path.name]}, []) if single else _by_split(found, path.name)
    parts = {}
    for part, names in named.items():
        frames = [info.audio.frames(found[name]) for name in names]
        lengths = np.array(list(map(len, frames)))
        parts[part] = Sequences(np.concatenate(frames), lengths, name=part)
    return EvaluationData.of(path.stem, parts, info, kind="real", notes=tuple(notes))


def files_of(folder: Path) -> list[Path]:
    """The .wav files in a folder and its subfolders, in the order of their names; hidden ones not.

    Raises:
        DataError: there are none.
    """
    if folder.is_file():
        raise DataError(f"'{folder}' is one recording; give the folder with all of them")
    if not folder.is_dir():
        raise DataError(f"there is no file '{folder}', and no such folder")
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() == ".wav"
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise DataError(
            f"the folder '{folder}' has no .wav files; give a folder of recordings, or the path of "
            "an npz file"
        )
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def read_files(
    folder: Path, files: Iterable[Path], rate: int | None = None
) -> tuple[int, dict[str, np.ndarray], dict[str, str]]:
    """The sample rate, the samples of every usable file, and the problem of every other file.

    Args:
        folder: that names are relative to.
        files: in it.
        rate: that files must have; that of most files if not given.

    Returns:
        The rate, 0 if no file can be read; samples and problems by the name of the file.
    """
    found: dict[str, tuple[int, np.ndarray]] = {}
    problems: dict[str, str] = {}
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            found[name] = wav.read(path)
        except DataError as error:
            problems[name] = str(error)
    counts = Counter(each for each, _ in found.values())
    usual = rate or max(counts, key=lambda each: (counts[each], -each), default=0)
    words = "expected" if rate else "most files have"
    for name in [name for name, (each, _) in found.items() if each != usual]:
        problems[name] = f"its sample rate is {found.pop(name)[0]} Hz; {words} {usual} Hz"
    return usual, {name: x for name, (_, x) in found.items()}, dict(sorted(problems.items()))


def refused(
    folder: Path, problems: Mapping[str, str], total: int, unusable: Unusable
) -> tuple[str, ...]:
    """A sentence on files that are left out; empty without problems.

    Raises:
        DataError: there are problems, and such files are to be refused.
    """
    if not problems:
        return ()
    shown = [f"{name}: {problem}" for name, problem in list(problems.items())[:SHOWN]]
    shown += ["..."] if len(problems) > SHOWN else []
    if unusable == "skip":
        return (f"{len(problems)} of {total} files are left out: {'; '.join(shown)}",)
    raise DataError(
        f"{len(problems)} of {total} files in '{folder}' cannot be used:\n  "
        + "\n  ".join(shown)
        + "\nReplace them (sox IN.wav -r RATE -c 1 OUT.wav changes rate and channels), or take "
        "them out of the folder; fit leaves them out with --set data.unusable=skip"
    )


def _by_split(names: Iterable[str], whole: str) -> tuple[dict[str, list[str]], list[str]]:
    """Names of files by the split that their first folder names, and a note on other files.

    Without such folders, all are under the name `whole`.
    """
    named: dict[str, list[str]] = {}
    rest = []
    for name in names:
        first, *below = name.split("/")
        split = SYNONYMS.get(first.lower(), first.lower())
        (named.setdefault(split, []) if below and split in SPLITS else rest).append(name)
    if not named:
        return {whole: rest}, []
    return named, [f"{len(rest)} files outside of {', '.join(named)} are ignored"] if rest else []


def _hold_out(named: dict[str, list[str]], folder: Path, seed: int) -> list[str]:
    """Move files from train to each missing split, in place, and say so."""
    missing = [split for split in SPLITS if split not in named]
    names = named["train"]
    if len(names) <= len(missing):
        raise DataError(
            f"'{folder}' has {counted(len(names), 'recording')} for training, and no folder "
            f"{' and no folder '.join(missing)}; add recordings"
        )
    if missing:
        for split, rows in held_out(len(names), missing, seed).items():
            named[split] = [names[row] for row in rows]
    return [
        f"no folder '{split}': {len(named[split])} of {len(names)} recordings, drawn with seed "
        f"{seed}"
        for split in missing
    ]
