"""Data: named datasets, readers for user files, and the order of batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from pyrodgm.access import access_in_words
from pyrodgm.arguments import as_path
from pyrodgm.data import (
    balls,
    fsdd,
    idx,
    mixtures,
    mnist,
    mocap,
    points,
    polyphonic,
    ragged,
    recordings,
    stu,
    timit,
)
from pyrodgm.data.base import DataInfo, Kind, Sequences, Splits
from pyrodgm.data.loader import BatchSampler, evaluation_batches
from pyrodgm.errors import DataError, UsageError, did_you_mean

__all__ = [
    "DATASETS",
    "BatchSampler",
    "DataInfo",
    "Kind",
    "Sequences",
    "Splits",
    "evaluation_batches",
    "find_loader",
    "load",
]

DATASETS: dict[str, Callable[..., Splits]] = {
    "avb-points": points.load_avb,
    "balls": balls.load,
    "cmu35-walk": mocap.load_cmu35,
    "fsdd": fsdd.load,
    "gmm32": mixtures.load_gmm32,
    "gmm5": mixtures.load_gmm5,
    "jsb": polyphonic.loader(polyphonic.JSB),
    "mnist": mnist.load,
    "mocap": mocap.load_mit,
    "muse": polyphonic.loader(polyphonic.MUSE),
    "nottingham": polyphonic.loader(polyphonic.NOTTINGHAM),
    "piano": polyphonic.loader(polyphonic.PIANO),
    "stu": stu.load,
    "timit": timit.load,
}


@access_in_words(DataError)
def load(source: str | Path, **options: Any) -> Splits:
    """A dataset by its name, from an npz file, or from a folder of recordings or of idx files.

    Args:
        source: a name in `DATASETS`, or a path.
        options: the keyword arguments of that dataset's loader; for a path, of `ragged.read`; for a
            folder, of `idx.read` if it holds idx files, else of `recordings.read`.

    Raises:
        UsageError: no such dataset, or no such option.
        DataError: the data cannot be read or is not valid.

    >>> load("balls", num_train=1, num_valid=1, num_test=1, length=3).info.kind
    'unit'
    """
    loader, arguments = find_loader(source)
    known = [name for name, p in signature(loader).parameters.items() if p.kind == p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise UsageError(f"data '{source}' has no option '{option}'; {hint}")
    return loader(*arguments, **options)


def find_loader(source: str | Path) -> tuple[Callable[..., Splits], tuple[Path, ...]]:
    """The function that loads a dataset name or file, and its positional arguments.

    Raises:
        UsageError: no such dataset.
    """
    name = str(source)
    if name in DATASETS:
        return DATASETS[name], ()
    path = as_path(source, "the data").expanduser()
    if idx.is_idx(path):
        return idx.read, (path,)
    if path.exists() or path.suffix or os.sep in name or isinstance(source, Path):
        missing_folder = not path.exists() and not path.suffix  # whose options are still known
        sound = is_sound(path) or missing_folder
        return recordings.read if sound else ragged.read, (path,)
    known = ", ".join(sorted(DATASETS))
    hint = did_you_mean(name, DATASETS)
    listed = "." if known in hint else f" Known: {known}."
    raise UsageError(
        f"unknown dataset '{name}'; {hint}{listed} Or give the path of an npz file, or a "
        "folder of .wav files or of idx files."
    )


def is_sound(path: Path) -> bool:
    """Whether a path is a recording, or a folder of recordings."""
    return (path.is_dir() and not idx.is_idx(path)) or path.suffix.lower() == ".wav"
