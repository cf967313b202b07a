"""Search for a named dataset on this machine, in the folder PYRODGM_DATA and the user's cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pooch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import DataError

ENVIRONMENT = "PYRODGM_DATA"
Shape = tuple[tuple[int, int], ...]


def find(folder: str, names: Iterable[str]) -> Path | None:
    """The first file with one of these names, in the two places or in a subfolder of them."""
    names = list(names)
    candidates = (place / name for place in _places(folder) for name in names)
    return next((path for path in candidates if path.is_file()), None)


def need(name: str, folder: str, what: str, *files: str) -> Path:
    """The first file of a dataset that cannot be downloaded; its other files are beside it.

    Args:
        name: of the dataset, as typed by the user.
        folder: subfolder of the two places.
        what: description of the data and its source.
        files: names of the files.

    Raises:
        DataError: the file was not found.
    """
    if found := find(folder, files[:1]):
        return found
    raise DataError(
        f"'{name}' is not on this machine and cannot be downloaded automatically. It is {what}. "
        f"Put {' and '.join(files)} into a folder, or its subfolder {folder}, and (1) set "
        f"{ENVIRONMENT} to that folder, or (2) use the folder {cache()}, or (3) give the place "
        "with the option path"
    )


def cache() -> Path:
    """The library's folder in the user's cache."""
    return Path(pooch.os_cache("pyrodgm"))


def sha256(*paths: Path) -> str:
    """One digest of the contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def folder_sha256(folder: Path, files: Iterable[Path]) -> str:
    """One digest of the contents of files and of their names in a folder."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def content_sha256(*parts: Sequences, beside: bool = True) -> str:
    """One digest of sequences.

    Args:
        parts: the sequences, of which lengths and values count.
        beside: whether conditions and held-out counts do too, as in digests since 2026-11-29.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.lengths.tobytes())
        for array in (part.x, part.conditions, part.held_out) if beside else (part.x,):
            if array is not None:
                digest.update(array.contiguous().numpy().data)
    return digest.hexdigest()


def verify(splits: Splits, name: str, origin: str, shape: Shape, dim: int) -> None:
    """Refuse data with another size than the published dataset.

    Args:
        splits: the data that was read.
        name: of the dataset.
        origin: the file it was read from.
        shape: published (sequences, frames) of train, valid and test.
        dim: published features per frame.

    Raises:
        DataError: with both sizes.
    """
    parts = (splits.train, splits.valid, splits.test)
    found = tuple((len(part), part.num_frames) for part in parts)
    if (found, splits.info.dim) != (shape, dim):
        raise DataError(
            f"'{origin}' is not the published {name}: expected {dim} features and (sequences, "
            f"frames) {shape}, found {splits.info.dim} and {found}. To use it anyway, give its "
            "path, as a ragged npz, instead of the name"
        )


def _places(folder: str) -> list[Path]:
    given = os.environ.get(ENVIRONMENT)
    roots = [*([Path(given).expanduser()] if given else []), cache()]
    return [place for root in roots for place in (root, root / folder)]
