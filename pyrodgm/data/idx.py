"""Pictures in idx files, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST, with labels.

A folder holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
t10k-labels-idx1-ubyte, each as it is or compressed (.gz). Files of labels may be missing.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from pyrodgm.data import local, ragged
from pyrodgm.data.base import Splits
from pyrodgm.data.pictures import as_bits
from pyrodgm.errors import DataError, UsageError

SPLIT_NAMES = {"train": "train", "valid": "valid", "validation": "valid", "t10k": "test"}
SPLIT_NAMES |= {"test": "test"}
NAME = re.compile(
    rf"(?:^|.*[-_])({'|'.join(SPLIT_NAMES)})[-_](images|labels)[-._]idx\d[-_]ubyte(?:\.gz)?$"
)
Values = Literal["grey", "sampled", "dynamic"]
BYTES, WIDTH = 8, 4  # the code of unsigned bytes, and the bytes of a size in the header
AXES = {"images": 3, "labels": 1}


def read(
    path: str | Path,
    *,
    values: Values = "grey",
    labels: bool = False,
    split_seed: int = 0,
) -> Splits:
    """Read the pictures of a folder with idx files, and their labels; rows are independent.

    Args:
        path: the folder.
        values: "grey" for values in [0, 1]; "sampled" for bits, every pixel drawn once with its
            grey value as probability, the same bits every time; "dynamic" for bits that are drawn
            anew for every batch of training.
        labels: whether the class of every picture is a condition, with a column of zeros and ones
            for each. Otherwise it is used in evaluation alone.
        split_seed: for holding out a missing valid or test split.

    Raises:
        DataError: a file is missing, damaged or not of bytes, or labels do not fit the pictures.
        UsageError: other values.
    """
    if values not in get_args(Values):
        raise UsageError(f"idx files: values is '{values}'; give {', '.join(get_args(Values))}")
    folder = Path(path).expanduser()
    files = dict(files_of(folder))
    if ("train", "images") not in files:
        raise DataError(f"'{folder}' has idx files, but no train-images-idx3-ubyte; add it")
    pictures = {split: read_idx(file) for (split, what), file in files.items() if what == "images"}
    classes = {split: read_idx(file) for (split, what), file in files.items() if what == "labels"}
    shape = np.array(pictures["train"].shape[1:])
    splits = ragged.splits_of(
        folder.resolve().name,
        pictures,
        {"image_shape": shape},
        classes,
        kind="unit",
        labels=labels,
        split_seed=split_seed,
    )
    notes = [note for note in splits.notes if "train_lengths" not in note]
    digest = local.folder_sha256(folder, sorted(files.values()))
    splits = replace(splits, sha256=digest, notes=tuple(notes))
    return splits if values == "grey" else as_bits(splits, "idx", redrawn=values == "dynamic")


def is_idx(path: Path) -> bool:
    """Whether a path is a folder with idx files."""
    return path.is_dir() and any(True for _ in _named(path))


def files_of(folder: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    """The idx files of a folder, with their split and what they hold.

    Raises:
        DataError: two files hold the same.
    """
    seen: dict[tuple[str, str], Path] = {}
    for key, path in _named(folder):
        if key in seen:
            raise DataError(
                f"'{seen[key].name}' and '{path.name}' both are the {key[1]} of the {key[0]} "
                f"split in '{folder}'; keep one of them"
            )
        seen[key] = path
        yield key, path


def _named(folder: Path) -> Iterator[tuple[tuple[str, str], Path]]:
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if not hidden and path.is_file() and (found := NAME.match(path.name)):
            yield (SPLIT_NAMES[found[1]], found[2]), path


def read_idx(path: Path) -> np.ndarray:
    """The array in an idx file of bytes.

    Its header is two zero bytes, the code of the type, the number of axes, and the size of every
    axis as four bytes, the most significant first.

    Raises:
        DataError: it is damaged, or of another type or number of axes than its name says.
    """
    found = NAME.match(path.name)
    axes = AXES[found[2]] if found else None
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read ({error}); is it complete?") from error
    if len(content) < WIDTH or content[:2] != b"\0\0" or content[2] != BYTES:
        raise DataError(f"'{path}' is not an idx file of unsigned bytes")
    rank, header = content[3], WIDTH * (1 + content[3])
    if axes is not None and rank != axes:
        raise DataError(f"'{path}' has {rank} axes; expected {axes}")
    if len(content) < header:
        raise DataError(f"'{path}' ends within its header; is it complete?")
    shape = np.frombuffer(content[WIDTH:header], ">u4").astype(int)
    if len(content) - header != math.prod(shape.tolist()):
        raise DataError(
            f"'{path}' has {len(content)} bytes, but its header says {shape.tolist()} of one byte "
            "each; is it complete?"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
