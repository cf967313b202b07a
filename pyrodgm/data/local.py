"""Where on this machine is a named dataset? In the folder PYRODGM_DATA, or in the user's cache."""

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
    """The first file of one of these names, in the two places or in a folder of theirs."""
    names = list(names)
    candidates = (place / name for place in _places(folder) for name in names)
    return next((path for path in candidates if path.is_file()), None)


def need(name: str, folder: str, what: str, *files: str) -> Path:
    """The first file of a dataset that cannot be downloaded; the others lie beside it.

    Args:
        name: of the dataset, as a person types it.
        folder: where it may be below either place.
        what: what it is and where it comes from.
        files: their names.

    Raises:
        DataError: it is not there.
    """
    if found := find(folder, files[:1]):
        return found
    raise DataError(
        f"'{name}' is not on this machine, and no public address has it in this form. It is "
        f"{what}. Put {' and '.join(files)} into a folder, or its subfolder {folder}, and (1) set "
        f"{ENVIRONMENT} to that folder, or (2) take {cache()} for it, or (3) name the place with "
        "the option path"
    )


def cache() -> Path:
    """The library's folder in the user's cache."""
    return Path(pooch.os_cache("pyrodgm"))


def sha256(*paths: Path) -> str:
    """One digest of all that files hold, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def content_sha256(*parts: Sequences) -> str:
    """One digest of the lengths and values of sequences."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.lengths.tobytes())
        digest.update(part.x.numpy().data)
    return digest.hexdigest()


def verify(splits: Splits, name: str, origin: str, shape: Shape, dim: int) -> None:
    """Refuse what has another size than the published dataset.

    Args:
        splits: what was read.
        name: of the dataset.
        origin: where it was read from.
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
            f"frames) {shape}, found {splits.info.dim} and {found}. To use it all the same, give "
            "its path, as a ragged npz, in place of the name"
        )


def _places(folder: str) -> list[Path]:
    given = os.environ.get(ENVIRONMENT)
    roots = [*([Path(given).expanduser()] if given else []), cache()]
    return [place for root in roots for place in (root, root / folder)]
