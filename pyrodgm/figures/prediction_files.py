"""Files of forecasts and imputations."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.symbols import indicators
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.prediction.forecast import Forecast
from pyrodgm.evaluate.prediction.impute import Imputation
from pyrodgm.figures import checks as plots
from pyrodgm.figures.samples_file import fitting, save_samples
from pyrodgm.figures.sequences import pictures
from pyrodgm.figures.sound import waveforms
from pyrodgm.figures.videos import save_gif, side_by_side
from pyrodgm.storage.files import replacing, write_arrays

PIECES = 12  # largest number of sequences written as MIDI or sound


def check_ending(path: Path, endings: list[str]) -> None:
    """Raise early if a file has an unknown ending.

    Raises:
        UsageError: the file has none of these endings.
    """
    if path.suffix.lower() not in endings:
        raise UsageError(f"cannot write {path}; endings that fit: {', '.join(endings)}")


def save_forecast(found: Forecast, sequences: Sequences, info: DataInfo, path: Path) -> list[Path]:
    """Write a forecast in the format given by the ending of the file.

    ``.npz``: the arrays of `Forecast`, for all sequences. ``.png`` and ``.gif``: the first sequence
    as observed, its mean forecast and one draw (not for grey values, which are means), including
    the frames before the forecast. ``.mid``: the first twelve sequences, a file each, with the
    observed frames and then one draw; ``.wav``: the same as sound.

    Args:
        found: the forecast.
        sequences: the split of the forecast.
        info: facts of the data.
        path: the file; an older one is replaced.

    Returns:
        The files written.

    Raises:
        UsageError: an ending that does not fit the data, or the folder does not exist.
    """
    check_ending(path, fitting(info))
    ending = path.suffix.lower()
    if ending == ".npz":
        _save_arrays(asdict(found) | symbol_arrays(info), path)
        return [path]
    if ending in (".mid", ".wav"):
        start = int(found.starts[:PIECES].min())
        pieces = [_joined(found, sequences, n, found.draw, info)[-start - found.horizon :]
                  for n in range(min(PIECES, len(found.rows)))]  # fmt: skip
        return save_samples(torch.from_numpy(np.stack(pieces)), info, path)
    rows = {
        "observed": _observed(found, sequences),
        "expected": _joined(found, sequences, 0, found.mean, info),
        "one draw": _joined(found, sequences, 0, found.draw, info),
    }
    if info.kind == "unit":
        del rows["one draw"]
    start = int(found.starts[0])
    if ending == ".gif":
        rows["observed"] = np.nan_to_num(rows["observed"])  # black
        with replacing(path) as unfinished:
            save_gif(side_by_side(rows, info, forecast_from=start), info, unfinished)
    else:
        title = f"{start} observed frames, then a forecast"
        drawn = (
            waveforms(rows, info.audio, mark=start)
            if info.audio
            else pictures(rows, info, title, mark=start)
        )
        plots.save(drawn, path)
    return [path]


def save_imputation(found: Imputation, path: Path, info: DataInfo) -> list[Path]:
    """Write an `Imputation` in the format given by the ending of the file.

    ``.npz``: its arrays, and the symbols of categorical data. ``.png``: pictures with their missing
    pixels and filled in, of the first sequence, or of rows at equal distances if they have no time.

    Args:
        found: the imputation.
        path: the file; an older one is replaced.
        info: facts of the data.

    Returns:
        The files written.

    Raises:
        UsageError: another ending, or the folder does not exist.
    """
    check_ending(path, imputation_endings(info))
    if path.suffix.lower() == ".npz":
        _save_arrays(asdict(found) | symbol_arrays(info), path)
        return [path]
    shown = slice(None if info.max_length == 1 else int(found.lengths[0]))
    observed = np.where(found.seen, found.x, np.nan)
    plots.save(pictures({"observed": observed[shown], "filled in": found.x[shown]}, info), path)
    return [path]


def imputation_endings(info: DataInfo) -> list[str]:
    """The endings of files of an imputation that fit the data."""
    return [".npz", ".png"] if info.image_shape else [".npz"]


def _observed(found: Forecast, sequences: Sequences) -> np.ndarray:
    """The first sequence, (T_0 + H, D); NaN where missing."""
    batch = sequences.batch(found.rows[:1])
    x = sequences.uncentred(batch.x.where(batch.observed, torch.nan))[0].numpy()
    frames = np.full((int(found.starts[0]) + found.horizon, x.shape[1]), np.nan, x.dtype)
    frames[: len(x)] = x[: len(frames)]
    return frames


def _joined(
    found: Forecast, sequences: Sequences, number: int, ahead: np.ndarray, info: DataInfo
) -> np.ndarray:
    """The observed frames of a sequence and its forecast frames, (T_0 + H, D).

    If the forecast has probabilities of symbols, observed symbols are one-hot, (T_0 + H, S).
    """
    batch = sequences.batch(found.rows[number : number + 1])
    x = sequences.uncentred(batch.x)[0].numpy()
    if ahead.shape[-1] != x.shape[-1]:
        x = indicators(x, info.symbols)
    return np.concatenate([x[: found.starts[number]], ahead[number]])


def symbol_arrays(info: DataInfo) -> dict[str, np.ndarray]:
    """The symbol and the feature of each column of probabilities; empty for other data."""
    if not info.symbols:
        return {}
    sizes = [len(own) for own in info.symbols]
    return {
        "symbols": np.concatenate(info.symbols),
        "symbol_features": np.repeat(np.arange(info.dim), sizes),
    }


def _save_arrays(arrays: dict[str, Any], path: Path) -> None:
    write_arrays(path, {name: value for name, value in arrays.items() if value is not None})
