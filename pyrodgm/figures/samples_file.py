"""Files of sequences: arrays, videos, MIDI, sound or figures, by the ending."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import mido
import numpy as np
import torch
from torch import Tensor

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataWarning, UsageError
from pyrodgm.figures import checks as plots
from pyrodgm.figures.points import scatter
from pyrodgm.figures.sequences import LINES, motion, pictures
from pyrodgm.figures.sound import as_16_bits, wav_of, waveforms
from pyrodgm.figures.videos import grid, save_gif
from pyrodgm.storage.files import replacing, write_arrays

TICKS_PER_FRAME = 480
VELOCITY = 80
ON = 0.5  # a key sounds where its value exceeds this
PANELS = 12  # sequences in one figure


def save_samples(
    x: Tensor, info: DataInfo, path: Path, *, probabilities: Tensor | None = None
) -> list[Path]:
    """Write sequences in the format given by the ending of the file.

    ``.npz``: arrays ``x``, ``probabilities`` if given, ``frame_rate``, ``image_shape`` or
    ``lowest_pitch`` if the data has one, and ``sample_rate``, ``sample_mean`` and ``sample_std`` of
    sound; no pickles. ``.gif``: the videos in a grid, at the frame
    rate; viewers may show successive equal frames as one longer frame. ``.mid``: one file per
    sequence, numbered ``name-001.mid``, because the tracks of one file would sound together. A
    frame is a quarter note at a tempo that gives the frame rate, and a key that is on in successive
    frames is one held note. ``.wav``: one file per sequence, numbered in the same way, of 16 bits
    at the rate and with the mean and standard deviation of the data. ``.png``: a figure of at most
    12 sequences, of sound as waveforms and spectrograms; rows that are pictures all in a grid, rows
    of a few real numbers all as points.

    Args:
        x: the sequences, (N, T, D).
        info: facts of the data.
        path: the file; its folder must exist, an older file is replaced.
        probabilities: of ones, (N, T, D); pictures show them instead of x.

    Returns:
        The files written.

    Raises:
        UsageError: the ending does not fit the data, shapes differ, or the folder does not exist.
    """
    write = _writer(path, info)
    if x.dim() != 3 or x.shape[-1] != info.dim or 0 in x.shape:
        raise UsageError(
            f"samples have shape {tuple(x.shape)}; expected (sequences, frames, {info.dim})"
        )
    if probabilities is not None and probabilities.shape != x.shape:
        raise UsageError(
            f"probabilities have shape {tuple(probabilities.shape)} and samples {tuple(x.shape)}; "
            "they must be the same"
        )
    shown = None if probabilities is None else as_numbers(probabilities)
    return write(as_numbers(x), shown, info, path)


def as_numbers(x: Tensor) -> np.ndarray:
    """An array of single precision, or of double precision if x has it."""
    return x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32)).numpy()


def fitting(info: DataInfo) -> list[str]:
    """The endings that fit a kind of data.

    >>> fitting(DataInfo("rows", "binary", 2, (0.5, 0.5), 3.0, 3, lowest_pitch=60))
    ['.mid', '.npz', '.png']
    """
    has = {
        ".gif": info.image_shape is not None,
        ".mid": info.lowest_pitch is not None,
        ".wav": info.audio is not None,
    }
    return sorted(ending for ending in _WRITERS if has.get(ending, True))


def _writer(path: Path, info: DataInfo) -> Writer:
    ending, fit = path.suffix.lower(), fitting(info)
    if ending not in _WRITERS:
        shown = f"unknown ending '{ending}' of {path}" if ending else f"{path} has no ending"
        raise UsageError(f"{shown}; those that fit '{info.name}': {', '.join(fit)}")
    if ending not in fit:
        needs = {
            ".gif": "pictures (image_shape)",
            ".mid": "a piano roll (lowest_pitch)",
            ".wav": "sound (frames of recordings)",
        }[ending]
        raise UsageError(
            f"{ending} needs {needs}, but '{info.name}' has none; those that fit: {', '.join(fit)}"
        )
    return _WRITERS[ending]


def _write_npz(
    x: np.ndarray, probabilities: np.ndarray | None, info: DataInfo, path: Path
) -> list[Path]:
    arrays: dict[str, np.ndarray] = {"x": x, "frame_rate": np.array(info.frame_rate)}
    if info.kind == "binary" and np.isin(x, (0, 1)).all():
        arrays["x"] = x.astype(np.uint8)
    if info.kind == "categorical" and not np.isnan(x).any():
        arrays["x"] = x.astype(np.int32)
    if probabilities is not None:
        arrays["probabilities"] = probabilities
    for name in ("image_shape", "lowest_pitch"):
        if getattr(info, name) is not None:
            arrays[name] = np.array(getattr(info, name))
    if info.audio:
        audio = {"rate": info.audio.rate, "mean": info.audio.mean, "std": info.audio.std}
        arrays |= {f"sample_{name}": np.array(value) for name, value in audio.items()}
    write_arrays(path, arrays)
    return [path]


def _write_png(
    x: np.ndarray, probabilities: np.ndarray | None, info: DataInfo, path: Path
) -> list[Path]:
    if info.image_shape and x.shape[1] == 1:
        (image,) = grid(x if probabilities is None else probabilities, info)
        with replacing(path) as unfinished:
            image.save(unfinished, format="PNG")
        return [path]
    shown = (x if probabilities is None else probabilities)[:PANELS]
    rows = {str(number + 1): sequence for number, sequence in enumerate(shown)}
    if info.audio:
        plots.save(waveforms(rows, info.audio, observed=0), path)
        return [path]
    lines = info.kind == "real" and not info.image_shape and info.dim <= LINES
    if lines and x.shape[1] == 1:
        plots.save(scatter({"drawn": x[:, 0]}), path)
        return [path]
    plots.save(motion(rows, within=np.concatenate(shown)) if lines else pictures(rows, info), path)
    return [path]


def _write_gif(
    x: np.ndarray, probabilities: np.ndarray | None, info: DataInfo, path: Path
) -> list[Path]:
    with replacing(path) as unfinished:
        save_gif(grid(x if probabilities is None else probabilities, info), info, unfinished)
    return [path]


def _write_midi(
    x: np.ndarray, probabilities: np.ndarray | None, info: DataInfo, path: Path
) -> list[Path]:
    del probabilities
    paths = _numbered(path, len(x))
    for sequence, target in zip(x, paths, strict=True):
        with replacing(target) as unfinished:
            _midi(sequence > ON, info).save(unfinished)
    return paths


def _write_wav(
    x: np.ndarray, probabilities: np.ndarray | None, info: DataInfo, path: Path
) -> list[Path]:
    del probabilities
    audio, paths, clipped = info.audio, _numbered(path, len(x)), 0
    assert audio is not None  # `_writer` has checked it
    for sequence, target in zip(x, paths, strict=True):
        samples, beyond = as_16_bits(sequence, audio)
        clipped += beyond
        with replacing(target) as unfinished:
            unfinished.write_bytes(wav_of(samples, audio))
    if clipped:
        warnings.warn(
            f"{clipped} of {x.size} samples were beyond 16 bits and are clipped in {path.name}",
            DataWarning,
            stacklevel=3,
        )
    return paths


def _numbered(path: Path, count: int) -> list[Path]:
    """Paths of a file per sequence; the given one if there is a single sequence."""
    if count == 1:
        return [path]
    digits = max(3, len(str(count)))
    return [
        path.with_name(f"{path.stem}-{number:0{digits}d}{path.suffix}")
        for number in range(1, count + 1)
    ]


def _midi(roll: np.ndarray, info: DataInfo) -> mido.MidiFile:
    """A piano roll (T, D) of booleans as one track; successive frames of a key are one note."""
    lowest = info.lowest_pitch or 0
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=round(1e6 / info.frame_rate), time=0))
    padded = np.pad(roll.astype(np.int8), ((1, 1), (0, 0)))
    waited = 0
    for change in np.diff(padded, axis=0):
        for key in np.flatnonzero(change):
            kind = "note_on" if change[key] > 0 else "note_off"
            track.append(mido.Message(kind, note=int(key) + lowest, velocity=VELOCITY, time=waited))
            waited = 0
        waited += TICKS_PER_FRAME
    track.append(mido.MetaMessage("end_of_track", time=max(0, waited - TICKS_PER_FRAME)))
    return mido.MidiFile(ticks_per_beat=TICKS_PER_FRAME, tracks=[track])


Writer = Callable[[np.ndarray, np.ndarray | None, DataInfo, Path], list[Path]]

_WRITERS: dict[str, Writer] = {
    ".gif": _write_gif,
    ".mid": _write_midi,
    ".npz": _write_npz,
    ".png": _write_png,
    ".wav": _write_wav,
}
