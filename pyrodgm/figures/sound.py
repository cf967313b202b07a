"""Frames of sound as WAV files, and as a figure of waveforms and spectrograms."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from scipy.io import wavfile
from scipy.signal import spectrogram

from pyrodgm.data.audio import FULL_SCALE, Audio
from pyrodgm.figures.checks import DATA, ONE_STEP

WINDOW = 0.032  # seconds of a column of a spectrogram
RANGE = 60.0  # dB shown below the strongest component of the first row


def as_16_bits(frames: np.ndarray, audio: Audio) -> tuple[np.ndarray, int]:
    """Samples of standardised frames, rounded to 16 bits, and how many of them were clipped.

    Args:
        frames: (T, D).
        audio: the constants of the data.
    """
    samples = np.rint(audio.samples(frames))
    kept = samples.clip(-FULL_SCALE, FULL_SCALE - 1)
    return kept.astype(np.int16), int((kept != samples).sum())


def wav_of(samples: np.ndarray, audio: Audio) -> bytes:
    """The content of a WAV file of samples of 16 bits."""
    buffer = io.BytesIO()
    wavfile.write(buffer, audio.rate, samples)
    return buffer.getvalue()


def waveforms(
    rows: Mapping[str, np.ndarray], audio: Audio, *, observed: int = 1, mark: int | None = None
) -> Figure:
    """Waveforms and spectrograms of sequences below each other, all on the same scales.

    Colours span 60 dB below the strongest component of the first sequence, and amplitudes its
    range, so that the others are compared with it.

    Args:
        rows: standardised frames, (T, D), by label; at least one.
        audio: the constants of the data.
        observed: number of sequences, the first ones, that are data; their waveforms are black.
        mark: frame before which a line is drawn, such as the first forecast frame.
    """
    sounds = {name: audio.samples(np.nan_to_num(frames)) for name, frames in rows.items()}
    pictures = {name: _decibels(x, audio.rate) for name, x in sounds.items()}
    loudest = next(iter(pictures.values()))[2].max()
    height = 1.2 * np.abs(next(iter(sounds.values()))).max() or 1.0
    figure = Figure(figsize=(9.6, 0.5 + 1.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, sharex=True, squeeze=False)
    for number, (name, x) in enumerate(sounds.items()):
        left, right = axes[number]
        colour = DATA if number < observed else ONE_STEP
        left.plot(np.arange(len(x)) / audio.rate, x, color=colour, lw=0.5)
        left.set(ylim=(-height, height), yticks=[])
        left.set_ylabel(name, fontsize=8)
        left.spines[["top", "right"]].set_visible(False)
        times, pitches, power = pictures[name]
        right.pcolormesh(
            times, pitches / 1000, power, cmap="magma", vmin=loudest - RANGE, vmax=loudest,
            shading="nearest", rasterized=True,
        )  # fmt: skip
        right.set_ylabel("kHz", fontsize=8)
        for ax in (left, right):
            ax.tick_params(labelsize=8)
            if mark is not None:
                ax.axvline(mark * audio.frame_size / audio.rate, color="#c8372d", lw=1, ls=":")
    for ax in axes[-1]:
        ax.set_xlabel("seconds", fontsize=8)
    return figure


def _decibels(x: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, frequencies and power in dB of a spectrogram; short sounds are padded with zeros."""
    window = max(8, round(WINDOW * rate))
    padded = np.pad(x, (0, max(0, window - len(x))))
    pitches, times, power = spectrogram(padded, rate, nperseg=window, noverlap=3 * window // 4)
    return times, pitches, 10 * np.log10(power + 1e-9)
