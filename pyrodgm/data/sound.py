"""Splits of recordings: every recording is a sequence of frames of standardised samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pyrodgm.data.audio import LEVEL, Audio, decibels
from pyrodgm.data.base import SPLITS, Sequences, Splits
from pyrodgm.data.labels import with_labels
from pyrodgm.errors import DataError, UsageError

Recordings = Mapping[str, Sequence[np.ndarray]]  # by split; each (samples,), units of 16 bits


def splits_of(
    name: str, recordings: Recordings, audio: Audio, labels: Mapping[str, np.ndarray] | None = None
) -> Splits:
    """Frames of recordings in three splits, with remarks on loudness, padding and units.

    Args:
        name: of the dataset.
        recordings: under "train", "valid" and "test".
        audio: how samples become frames.
        labels: of every recording, (recordings,) by split; conditions of its frames, if given.
    """
    frames = {split: [audio.frames(each) for each in recordings[split]] for split in SPLITS}
    lengths = {split: np.array(list(map(len, each))) for split, each in frames.items()}
    arrays = {split: np.concatenate(each) for split, each in frames.items()}
    classes: tuple[str, ...] = ()
    if labels is not None:
        repeated = {split: np.repeat(labels[split], lengths[split]) for split in SPLITS}
        arrays, classes = with_labels(arrays, repeated)
    parts = {
        split: Sequences(arrays[split], cut, conditions=arrays.get(f"{split}_conditions"))
        for split, cut in lengths.items()
    }
    rate = audio.rate / audio.frame_size
    splits = Splits.of(name, "real", parts, frame_rate=rate, audio=audio, classes=classes)
    return replace(splits, notes=(*remarks(recordings, audio), *splits.notes))


def remarks(recordings: Recordings, audio: Audio) -> tuple[str, ...]:
    """Sentences on the loudness of recordings, on padding, and on the unit of log-densities."""
    every = [each for split in recordings.values() for each in split]
    loudness = np.array([decibels(each) for each in every])
    silent = int(np.isneginf(loudness).sum())
    heard = loudness[~np.isneginf(loudness)]
    words = f"loudness of the recordings from {heard.min():.1f} to {heard.max():.1f} dB "
    words += "relative to full scale (root mean square)"
    words += f", each brought to {LEVEL:g} dB" if audio.loudness == "equal" else ", left as it is"
    samples = sum(map(len, every))
    padding = sum(-len(each) % audio.frame_size for each in every)
    found = [
        words,
        f"zeros fill the last frame of each recording, {padding / (samples + padding):.1%} of all "
        "samples",
        f"log-densities are of standardised samples; of samples of 16 bits they are "
        f"{audio.nats_of_units:.1f} nats per frame lower",
    ]
    if silent:
        found.append(f"silent recordings: {silent} of {len(every)}")
    return tuple(found)


def restandardised(part: Sequences, given: Audio, wanted: Audio) -> Sequences:
    """Sequences of frames with the constants of other data.

    Raises:
        DataError: rate, frame size or loudness differ.
    """
    for what in ("rate", "frame_size", "loudness"):
        if getattr(given, what) != getattr(wanted, what):
            raise DataError(
                f"the model was fitted on sound with {what} {getattr(wanted, what)}, but this data "
                f"has {getattr(given, what)}; give data with the same"
            )
    x = (part.x.numpy() * given.std + (given.mean - wanted.mean)) / wanted.std
    given_conditions = None if part.conditions is None else part.conditions.numpy()
    return Sequences(x.astype(np.float32), part.lengths, conditions=given_conditions)


def check_frame_size(frame_size: int) -> None:
    """Refuse frames without samples.

    Raises:
        UsageError: the size is not positive.
    """
    if frame_size < 1:
        raise UsageError(f"frame_size is {frame_size}; give at least 1 sample")


def audio_in_words(audio: Audio) -> str:
    """Rate and size of frames, for a summary of the data.

    >>> audio_in_words(Audio(8000, 200, 0.0, 1.0, "equal"))
    '8000 Hz, 25 ms per frame'
    """
    return f"{audio.rate} Hz, {1000 * audio.frame_size / audio.rate:g} ms per frame"


def duration(seconds: float) -> str:
    """A duration in words, in seconds below three minutes, in minutes below three hours.

    >>> duration(12.34), duration(600.0), duration(86400.0)
    ('12.3 s', '10.0 min', '24.0 h')
    """
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 3 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"
