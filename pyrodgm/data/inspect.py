"""Description of a data file: facts, problems, and the command that fits a model to it."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from pyrodgm.data import find_loader, load, ragged
from pyrodgm.data.audio import Audio
from pyrodgm.data.base import SPLITS, DataInfo, Splits
from pyrodgm.data.checks import infinite
from pyrodgm.data.kinds import Arrays
from pyrodgm.data.loader import BatchSampler, padding_share
from pyrodgm.data.remarks import constant_features, remarks
from pyrodgm.data.sound import audio_in_words, duration
from pyrodgm.display import between
from pyrodgm.errors import DataError

BATCH_SIZE = 32
BARS = " ▁▂▃▄▅▆▇█"
Report = dict[str, Any]


def inspect(source: str | Path) -> Report:
    """Describe a dataset by name, or a file, including one that `load` refuses.

    Args:
        source: what `load` takes.

    Returns:
        Plain values for JSON: `kind`, `splits`, `audio` (of sound, else None), `duplicates`,
        `notes`, `refused` (the error of `load`, or None) and `fit` (the command to type, or None).

    Raises:
        UsageError: no such dataset.
    """
    splits, refused = None, None
    try:
        splits = load(source)
    except DataError as error:
        refused = str(error)
    arrays = _arrays(source, splits)
    lengths = {split: _lengths(arrays, split) for split in SPLITS if split in arrays}
    model = _model(splits.info) if splits else None
    audio = splits.info.audio if splits else None
    return {
        "source": str(source),
        "kind": splits.info.kind if splits else None,
        "splits": {split: _describe(arrays, split, lengths[split]) for split in lengths},
        "audio": asdict(audio) if audio else None,
        "duplicates": _duplicates(arrays, lengths),
        "notes": [*remarks(splits)] if splits else _constant_features(arrays),
        "refused": refused,
        "fit": f"pyrodgm fit --model {model} --data {shlex.quote(str(source))}" if model else None,
    }


def render(report: Report) -> str:
    """The report of `inspect` as text for a terminal."""
    lines = [f"{report['source']}: {report['kind'] or 'not usable'}"]
    lines += [_render_split(split, facts) for split, facts in report["splits"].items()]
    lines += _render_audio(Audio(**report["audio"]), report["splits"]) if report["audio"] else []
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


def _model(info: DataInfo) -> str:
    """A first model to try; its emission is chosen from the data."""
    if info.audio is not None:
        return "vrnn"
    if info.max_length == 1:
        return "vae" if info.kind in ("real", "unit") else "sbn"
    return {"categorical": "hmm", "count": "hmsbn"}.get(info.kind, "tsbn")


def _arrays(source: str | Path, splits: Splits | None) -> Arrays:
    """The arrays as stored in an npz file; for any other source, as made by its loader."""
    if find_loader(source)[0] is ragged.read:
        try:
            return ragged.read_arrays(Path(source).expanduser())[0]
        except DataError:
            return {}
    if splits is None:
        return {}
    arrays: Arrays = {}
    for split in SPLITS:
        part = splits[split]
        arrays |= {split: part.x.numpy(), f"{split}_lengths": part.lengths}
        if part.held_out is not None:
            arrays[f"{split}_held_out"] = part.held_out.numpy()
        if part.conditions is not None:
            arrays[f"{split}_conditions"] = part.conditions.numpy()
    return arrays


def _lengths(arrays: Arrays, split: str) -> np.ndarray | None:
    """Lengths of the sequences of one split; None where they do not cut up its frames."""
    x = arrays[split]
    lengths = arrays.get(f"{split}_lengths", np.ones(x.shape[:1], np.int64))
    fit = lengths.ndim == 1 and lengths.dtype.kind in "ui" and x.ndim > 0 and x.size > 0
    if not fit or (lengths < 1).any() or lengths.sum() != len(x):
        return None
    return lengths.astype(np.int64)


def _describe(arrays: Arrays, split: str, lengths: np.ndarray | None) -> Report:
    x, held_out = arrays[split], arrays.get(f"{split}_held_out")
    facts: Report = {"shape": list(x.shape), "dtype": str(x.dtype)}
    if x.dtype.kind in "buif" and x.size:
        missing = np.isnan(x)
        usable = ~(missing | infinite(x))
        present = x if usable.all() else x[usable]
        facts["range"] = [present.min().item(), present.max().item()] if present.size else None
        facts["missing"] = int(missing.sum())
        facts["missing_share"] = facts["missing"] / x.size
    if held_out is not None and held_out.dtype.kind in "buif":
        facts["held_out"] = int(held_out[np.isfinite(held_out)].sum())
    if (given := arrays.get(f"{split}_conditions")) is not None:
        facts["conditions"] = given.shape[-1] if given.ndim > 1 else 1
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


def _duplicates(arrays: Arrays, lengths: dict[str, np.ndarray | None]) -> dict[str, int]:
    """How many sequences of the second split are bit-equal to one of the first, per pair."""
    content = {
        split: _contents(arrays, split, cut) for split, cut in lengths.items() if cut is not None
    }
    return {
        f"{second} in {first}": sum(map(set(content[first]).__contains__, content[second]))
        for first, second in combinations(content, 2)
    }


def _contents(arrays: Arrays, split: str, lengths: np.ndarray) -> list[bytes]:
    """The values of every sequence, held-out counts included, as bytes."""
    names = (split, f"{split}_held_out", f"{split}_conditions")
    whole = [arrays[name] for name in names if name in arrays]
    ends = np.cumsum(lengths)[:-1]
    sequences = zip(*(np.split(x, ends) for x in whole), strict=True)
    return [b"".join(part.tobytes() for part in parts) for parts in sequences]


def _constant_features(arrays: Arrays) -> list[str]:
    """Which features never change in training, of a file that was refused."""
    x = arrays.get("train", np.empty(0))
    if x.ndim != 2 or not x.size or x.dtype.kind not in "buif":
        return []
    return constant_features(np.fmin.reduce(x) == np.fmax.reduce(x))  # which ignore NaN


def _render_audio(audio: Audio, splits: Report) -> list[str]:
    """Rate, frames and duration of recordings."""
    frames = {split: facts["shape"][0] for split, facts in splits.items()}
    durations = [
        f"{split} {duration(count * audio.frame_size / audio.rate)}"
        for split, count in frames.items()
    ]
    return [f"  sound  {audio_in_words(audio)}: {', '.join(durations)}"]


def _render_split(split: str, facts: Report) -> str:
    line = f"  {split:5}  {' x '.join(map(str, facts['shape']))} {facts['dtype']}"
    if facts.get("range"):
        line += f", {between(*facts['range'])}"
    if facts.get("missing"):
        line += f", {facts['missing']} missing ({facts['missing_share']:.1%})"
    if "held_out" in facts:
        line += f", {facts['held_out']} held out"
    if "conditions" in facts:
        line += f", given {facts['conditions']} condition{'s' * (facts['conditions'] > 1)}"
    if not (lengths := facts.get("lengths")):
        return line
    if lengths["max"] == 1:
        return f"{line}, independent rows"
    peak = max(lengths["histogram"])
    bars = "".join(BARS[-(-8 * count // peak)] for count in lengths["histogram"])
    return (
        f"{line}\n         {lengths['sequences']} sequence{'s' * (lengths['sequences'] > 1)}, "
        f"{lengths['min']} |{bars}| {lengths['max']} frames, median {lengths['median']:g}\n"
        f"         padding {lengths['padding_to_longest']:.0%} to the longest, "
        f"{lengths['padding_in_batches']:.0%} in batches of {BATCH_SIZE} by length"
    )
