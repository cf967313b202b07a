"""What is in a data file? Facts, trouble and the line that fits a model to it."""

from __future__ import annotations

import shlex
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from pyrodgm.data import DATASETS, load
from pyrodgm.data.base import SPLITS, Splits
from pyrodgm.data.checks import Arrays, missing
from pyrodgm.data.loader import BatchSampler, padding_share
from pyrodgm.data.ragged import read_arrays
from pyrodgm.errors import DataError

BATCH_SIZE = 32
BARS = " ▁▂▃▄▅▆▇█"
Report = dict[str, Any]


def inspect(source: str | Path) -> Report:
    """Describe a dataset by name, or a file, including one that `load` refuses.

    Args:
        source: what `load` takes.

    Returns:
        Plain values for JSON: `kind`, `splits`, `duplicates`, `notes`, `refused` (why `load`
        would not read it, or None) and `fit` (the command to type, or None).

    Raises:
        UsageError: no such dataset.
    """
    splits, refused = None, None
    try:
        splits = load(source)
    except DataError as error:
        refused = str(error)
    arrays = _arrays(source, splits)
    parts = {split: _sequences(arrays, split) for split in SPLITS if split in arrays}
    notes = [*(splits.notes if splits else ()), *_constant_features(arrays)]
    fits = splits is not None and splits.info.kind != "real"
    if splits and not fits:
        notes.append("real-valued: tsbn needs values in {0,1} or [0,1]; rescale or binarise them")
    return {
        "source": str(source),
        "kind": splits.info.kind if splits else None,
        "splits": {split: _describe(*parts[split]) for split in parts},
        "duplicates": _duplicates(parts),
        "notes": notes,
        "refused": refused,
        "fit": f"pyrodgm fit --model tsbn --data {shlex.quote(str(source))}" if fits else None,
    }


def render(report: Report) -> str:
    """The report of `inspect` as text for a terminal."""
    lines = [f"{report['source']}: {report['kind'] or 'not usable'}"]
    lines += [_render_split(split, facts) for split, facts in report["splits"].items()]
    lines += [
        f"duplicates: {count} of the sequences of {pair}"
        for pair, count in report["duplicates"].items()
        if count
    ]
    lines += [f"note: {note}" for note in report["notes"]]
    if report["refused"]:
        lines.append(f"refused: {report['refused']}")
    elif report["fit"]:
        lines.append(report["fit"])
    return "\n".join(lines)


def _arrays(source: str | Path, splits: Splits | None) -> Arrays:
    """The arrays as the file has them; of a named dataset, as its loader made them."""
    if str(source) not in DATASETS:
        try:
            return read_arrays(Path(source).expanduser())[0]
        except DataError:
            return {}
    if splits is None:
        return {}
    frames = {split: splits[split].x.numpy() for split in SPLITS}
    return frames | {f"{split}_lengths": splits[split].lengths for split in SPLITS}


def _sequences(arrays: Arrays, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames and lengths of one split; no lengths where they do not cut up the frames."""
    x = arrays[split]
    lengths = arrays.get(f"{split}_lengths", np.ones(x.shape[:1], np.int64))
    fit = lengths.ndim == 1 and lengths.dtype.kind in "ui" and x.ndim > 0 and x.size > 0
    if not fit or (lengths < 1).any() or lengths.sum() != len(x):
        return x, None
    return x, lengths.astype(np.int64)


def _describe(x: np.ndarray, lengths: np.ndarray | None) -> Report:
    facts: Report = {"shape": list(x.shape), "dtype": str(x.dtype)}
    if x.dtype.kind in "buif" and x.size:
        gaps = missing(x)
        present = x[~gaps] if gaps.any() else x
        facts["range"] = [present.min().item(), present.max().item()] if present.size else None
        facts["missing"] = int(gaps.sum())
    if lengths is not None:
        facts["lengths"] = _describe_lengths(lengths)
    return facts


def _describe_lengths(lengths: np.ndarray) -> Report:
    sampler = BatchSampler(lengths, BATCH_SIZE, seed=0)
    epoch = list(islice(sampler, sampler.batches_per_epoch))
    return {
        "sequences": len(lengths),
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "max": int(lengths.max()),
        "histogram": np.histogram(lengths, bins=12)[0].tolist(),
        "padding_to_longest": padding_share(lengths, [np.arange(len(lengths))]),
        "padding_in_batches": padding_share(lengths, epoch),
    }


def _duplicates(parts: dict[str, tuple[np.ndarray, np.ndarray | None]]) -> dict[str, int]:
    """How many sequences of the second split are bit-equal to one of the first, per pair."""
    content = {
        split: [frames.tobytes() for frames in np.split(x, np.cumsum(lengths)[:-1])]
        for split, (x, lengths) in parts.items()
        if lengths is not None
    }
    return {
        f"{second} in {first}": sum(map(set(content[first]).__contains__, content[second]))
        for first, second in combinations(content, 2)
    }


def _constant_features(arrays: Arrays) -> list[str]:
    x = arrays.get("train", np.empty(0))
    if x.ndim != 2 or not x.size or not (count := int((x == x[0]).all(0).sum())):
        return []
    return [f"{count} of {x.shape[1]} features never change in train"]


def _render_split(split: str, facts: Report) -> str:
    line = f"  {split:5}  {' x '.join(map(str, facts['shape']))} {facts['dtype']}"
    if facts.get("range"):
        line += f", {facts['range'][0]:g} to {facts['range'][1]:g}"
    if facts.get("missing"):
        line += f", {facts['missing']} missing"
    if not (lengths := facts.get("lengths")):
        return line
    if lengths["max"] == 1:
        return f"{line}, independent rows"
    peak = max(lengths["histogram"])
    bars = "".join(BARS[-(-8 * count // peak)] for count in lengths["histogram"])
    return (
        f"{line}\n         {lengths['sequences']} sequences, "
        f"{lengths['min']} |{bars}| {lengths['max']} frames, median {lengths['median']:g}\n"
        f"         padding {lengths['padding_to_longest']:.0%} to the longest, "
        f"{lengths['padding_in_batches']:.0%} in batches of {BATCH_SIZE} by length"
    )
