"""The Free Spoken Digit Dataset: spoken digits as frames of samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pyrodgm.data import local, ragged, recordings
from pyrodgm.data.audio import Loudness, measured
from pyrodgm.data.base import SPLITS, Splits
from pyrodgm.data.sound import check_frame_size, splits_of
from pyrodgm.errors import DataError, UsageError

ORIGIN = "https://github.com/Jakobovski/free-spoken-digit-dataset"
FILE = "fsdd_8k.npz"
WHAT = (
    "the Free Spoken Digit Dataset, 3000 recordings of 8 kHz (CC BY-SA 4.0): either a clone of "
    f"{ORIGIN}, whose folder is given with --set data.path=free-spoken-digit-dataset; or an npz of "
    "samples (int16, end to end), lengths, digit, speaker, take, speaker_names and sample_rate"
)
RECORDINGS, SAMPLES, RATE = 3000, 10_498_424, 8000
TEST_TAKES, VALID_TAKES = range(5), range(5, 10)
Labels = Literal["none", "digit", "speaker"]


@dataclass(frozen=True)
class Digits:
    """Spoken digits in the order of digit, speaker and take.

    Args:
        samples: of every recording, each (samples,) int16.
        digit, speaker, take: of every recording, (recordings,).
        rate: samples per second.
        sha256: digest of what was read.
    """

    samples: list[np.ndarray]
    digit: np.ndarray
    speaker: np.ndarray
    take: np.ndarray
    rate: int
    sha256: str


def load(
    *,
    path: str | None = None,
    frame_size: int = 200,
    loudness: Loudness = "equal",
    labels: Labels = "none",
) -> Splits:
    """Spoken digits in frames of 200 samples (25 ms), with the official test recordings.

    Takes 0 to 4 of every digit and speaker are for testing, as published; takes 5 to 9 for
    validation, which the published split does not have. Speakers occur in all splits. Samples are
    standardised by the mean and the standard deviation of the training samples.

    Args:
        path: the npz file or the folder of recordings, if it is not in a usual place.
        frame_size: samples per frame; zeros fill the last frame of a recording.
        loudness: "equal" scales every recording to the same root mean square; "recorded" leaves
            it. Speakers differ by a factor of 13 in the median.
        labels: "digit" or "speaker" of every recording as a condition of its frames, with a column
            of zeros and ones for each.

    Raises:
        DataError: it is not on this machine, or not what was published.
        UsageError: frames without samples, or another label.
    """
    check_frame_size(frame_size)
    if labels not in ("none", "digit", "speaker"):
        raise UsageError(f"fsdd: labels is '{labels}'; give none, digit or speaker")
    found = Path(path).expanduser() if path else local.need("fsdd", "speech", WHAT, FILE)
    digits = digits_in_folder(found) if found.is_dir() else digits_in_file(found)
    _verify(digits, found)
    rows = {
        "train": ~np.isin(digits.take, [*TEST_TAKES, *VALID_TAKES]),
        "valid": np.isin(digits.take, VALID_TAKES),
        "test": np.isin(digits.take, TEST_TAKES),
    }
    parts = {split: [digits.samples[row] for row in np.flatnonzero(rows[split])] for split in rows}
    audio = measured(parts["train"], rate=digits.rate, frame_size=frame_size, loudness=loudness)
    of_each = {"digit": digits.digit, "speaker": digits.speaker}.get(labels)
    named = None if of_each is None else {split: of_each[rows[split]] for split in SPLITS}
    return replace(splits_of("fsdd", parts, audio, named), sha256=digits.sha256)


def digits_in_file(path: Path) -> Digits:
    """The recordings of an npz file.

    Raises:
        DataError: it is damaged, or an array is missing.
    """
    ragged.refuse_other_formats(path)
    names = ("samples", "lengths", "digit", "speaker", "take", "speaker_names", "sample_rate")
    if missing := [name for name in names if name not in ragged.names_of(path)]:
        raise DataError(f"'{path}' is not fsdd: it has no {', '.join(missing)}; it is {WHAT}")
    arrays = {name: ragged.array_of(path, name) for name in names}
    lengths, samples = arrays["lengths"].astype(np.int64), arrays["samples"]
    of_each = [arrays[name] for name in ("digit", "speaker", "take")]
    if lengths.sum() != len(samples) or any(len(each) != len(lengths) for each in of_each):
        raise DataError(f"'{path}' is not fsdd: its arrays have different lengths; it is {WHAT}")
    digit, speaker, take = of_each
    return Digits(
        np.split(samples, np.cumsum(lengths)[:-1]),
        digit,
        arrays["speaker_names"][speaker],
        take,
        int(arrays["sample_rate"]),
        local.sha256(path),
    )


def digits_in_folder(path: Path) -> Digits:
    """The recordings of a folder, with files named DIGIT_SPEAKER_TAKE.wav.

    Args:
        path: a clone of the repository, or its folder of recordings.

    Raises:
        DataError: a file cannot be read, or has another name.
    """
    folder = path / "recordings" if (path / "recordings").is_dir() else path
    parts = {file: file.stem.split("_") for file in recordings.files_of(folder)}
    for file, words in parts.items():
        if len(words) != len(("digit", "speaker", "take")) or not (words[0] + words[2]).isdigit():
            raise DataError(f"'{file.name}' is not named DIGIT_SPEAKER_TAKE.wav; fsdd is {WHAT}")
    files = sorted(
        parts, key=lambda file: (int(parts[file][0]), parts[file][1], int(parts[file][2]))
    )
    rate, found, problems = recordings.read_files(folder, files)
    recordings.refused(folder, problems, len(files), "refuse")
    digit, speaker, take = zip(*(parts[file] for file in files), strict=True)
    return Digits(
        [found[file.relative_to(folder).as_posix()] for file in files],
        np.array(digit, int),
        np.array(speaker),
        np.array(take, int),
        rate,
        local.folder_sha256(folder, files),
    )


def _verify(digits: Digits, found: Path) -> None:
    """Refuse recordings other than the published ones.

    Raises:
        DataError: their number, their samples or their rate differ.
    """
    size = len(digits.samples), sum(map(len, digits.samples)), digits.rate
    if size != (RECORDINGS, SAMPLES, RATE):
        raise DataError(
            f"'{found}' is not the published fsdd: expected {RECORDINGS} recordings of {SAMPLES} "
            f"samples at {RATE} Hz, found {size[0]} of {size[1]} at {size[2]} Hz. To use it "
            "anyway, give the folder of its .wav files as data"
        )
