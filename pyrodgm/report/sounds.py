"""Recordings in a report: waveforms, spectrograms, and files to listen to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from pyrodgm.data.audio import Audio
from pyrodgm.display import counted
from pyrodgm.errors import MissingDataError
from pyrodgm.figures.sound import as_16_bits, wav_of, waveforms
from pyrodgm.report.blocks import Block, Download, Picture, Text, data_uri, png_uri
from pyrodgm.runs.run import Run


def heard(
    rows: Mapping[str, np.ndarray],
    audio: Audio,
    caption: str,
    *,
    observed: int = 1,
    mark: int | None = None,
) -> list[Block]:
    """Waveforms and spectrograms of sequences, and the same as files.

    Args:
        rows: standardised frames, (T, D), by label.
        audio: the constants of the data.
        caption: of the figure.
        observed: number of sequences, the first ones, that are data.
        mark: frame before which a line is drawn.
    """
    files, clipped = [], 0
    for name, frames in rows.items():
        samples, beyond = as_16_bits(np.nan_to_num(frames), audio)
        clipped += beyond
        files.append(
            (f"{'-'.join(name.split())}.wav", data_uri(wav_of(samples, audio), "audio/wav"))
        )
    blocks: list[Block] = [
        Picture(png_uri(waveforms(rows, audio, observed=observed, mark=mark)), caption),
        Download(files, "To listen to:"),
    ]
    if clipped:
        words = f"{counted(clipped, 'sample')} beyond 16 bits clipped in these files."
        blocks.append(Text(words, "note"))
    return blocks


def drawn(run: Run, split: str, x: np.ndarray, audio: Audio, given: str) -> list[Block]:
    """Samples from the model below sequences of a split, on the same scales.

    Args:
        run: a fitted model.
        split: whose sequences are shown, as many as there are samples, if available.
        x: samples, (N, T, D).
        audio: the constants of the data.
        given: the conditions of samples, in words.
    """
    caption = f"{counted(len(x), 'sequence')} of {counted(x.shape[1], 'frame')} drawn from the "
    caption += f"model{given} Black: sequences of {split}. Left: waveforms; right: "
    caption += "spectrograms over 60 dB. All have the same scales."
    data = _observed(run, split, len(x))
    samples = {f"sample {number}": frames for number, frames in enumerate(x, start=1)}
    return heard({**data, **samples}, audio, caption, observed=len(data))


def _observed(run: Run, split: str, num: int) -> dict[str, np.ndarray]:
    """Sequences of a split at equal distances; empty if the data is missing."""
    try:
        sequences = run.splits[split]
    except MissingDataError:
        return {}
    places = np.linspace(0, len(sequences) - 1, min(num, len(sequences))).round().astype(int)
    batch = sequences.batch(places)
    x = sequences.uncentred(batch.x.where(batch.observed, torch.nan)).numpy()
    return {
        f"{split} {row}": frames[: int(sequences.lengths[row])]
        for row, frames in zip(places, x, strict=True)
    }
