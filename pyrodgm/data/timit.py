"""TIMIT, read speech, for those who hold its licence: as frames of samples."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from pyrodgm.data import local, recordings
from pyrodgm.data.audio import Audio, measured
from pyrodgm.data.base import Splits
from pyrodgm.data.sound import splits_of
from pyrodgm.errors import DataError

PUBLISHED = Audio(rate=16_000, frame_size=200, mean=0.006060, std=548.136169, loudness="recorded")
FILES = {"TRAIN": 4620, "TEST": 1680}
NUM_VALID, SEED = 231, 1234


def load(*, path: str | None = None) -> Splits:
    """TIMIT in frames of 200 samples (12.5 ms), as prepared for the paper on FIVO.

    Samples of 16 bits are standardised by a mean of .006060 and a standard deviation of 548.136169.
    Of the 4620 training recordings, 231 are for validation.

    Args:
        path: the folder of TIMIT with TRAIN and TEST, or the one above.

    Raises:
        DataError: no path, or the folder does not hold the 6300 recordings.

    Reference: Maddison et al., Filtering variational objectives, 2017, and its code, which runs on
    Python 2 only; the split is that of Python 2.
    """
    if path is None:
        raise DataError(
            "'timit' needs the option path, the folder with TRAIN and TEST (--set data.path=TIMIT)."
            " TIMIT is LDC93S1 of the Linguistic Data Consortium, https://catalog.ldc.upenn.edu/"
            "LDC93S1, and needs a licence"
        )
    folder = _folder(Path(path).expanduser())
    files = {name: _files(folder, name, count) for name, count in FILES.items()}
    order = shuffled_by_python_2(files["TRAIN"], SEED)
    named = {
        "train": order[NUM_VALID:],
        "valid": order[:NUM_VALID],
        "test": files["TEST"],
    }
    every = files["TRAIN"] + files["TEST"]
    _, found, problems = recordings.read_files(folder, every, PUBLISHED.rate)
    recordings.refused(folder, problems, len(every), "refuse")
    parts = {
        split: [found[file.relative_to(folder).as_posix()] for file in each]
        for split, each in named.items()
    }
    here = measured(parts["train"], rate=PUBLISHED.rate, frame_size=200, loudness="recorded")
    note = (
        f"the training samples have mean {here.mean:.6f} and standard deviation {here.std:.6f}; "
        f"standardised by the published {PUBLISHED.mean:.6f} and {PUBLISHED.std:.6f}"
    )
    splits = splits_of("timit", parts, PUBLISHED)
    digest = local.folder_sha256(folder, every)
    return replace(splits, sha256=digest, notes=(note, *splits.notes))


def shuffled_by_python_2(files: list[Path], seed: int) -> list[Path]:
    """The order of `random.seed(seed); random.shuffle(files)` in Python 2.

    It is part of a published protocol, so it does not go through `pyrodgm.seeds`. Python 3 draws
    the places in another way.
    """
    rng, order = random.Random(seed), list(files)
    for last in reversed(range(1, len(order))):
        place = int(rng.random() * (last + 1))
        order[last], order[place] = order[place], order[last]
    return order


def _folder(path: Path) -> Path:
    """The folder with TRAIN and TEST: the given one, or one in it.

    Raises:
        DataError: there is none.
    """
    for folder in (path, path / "TIMIT", path / "timit"):
        if all((folder / name).is_dir() or (folder / name.lower()).is_dir() for name in FILES):
            return folder
    raise DataError(f"'{path}' has no folders TRAIN and TEST; give the folder of TIMIT as path")


def _files(folder: Path, name: str, count: int) -> list[Path]:
    """Recordings of one part in the order of their names in capitals.

    Raises:
        DataError: their number is not the published one.
    """
    inside = folder / name if (folder / name).is_dir() else folder / name.lower()
    files = sorted(recordings.files_of(inside), key=lambda file: file.as_posix().upper())
    if len(files) != count:
        raise DataError(
            f"'{inside}' has {len(files)} .wav files; TIMIT has {count} there. If every recording "
            "is there twice, as .WAV and as .WAV.wav, delete one of them"
        )
    return files
