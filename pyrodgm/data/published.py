"""A published dataset in the ragged format, found on this machine and checked for its size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyrodgm.data import local, ragged
from pyrodgm.data.base import Splits


@dataclass(frozen=True)
class Published:
    """A file that a person has to bring.

    Args:
        name: what a person types.
        folder: where it may be, below the places of `pyrodgm.data.local`.
        file: its name.
        what: what it holds and where it comes from, for those who do not have it.
        shape: published (sequences, frames) of train, valid and test, as they are read.
        dim: features per frame.
        options: of `ragged.read`.
        notes: what a person should know of it.
    """

    name: str
    folder: str
    file: str
    what: str
    shape: local.Shape
    dim: int
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()

    def load(self, path: str | None = None, **options: Any) -> Splits:
        """The dataset from a file, or from wherever it is found.

        Args:
            path: the npz file.
            options: further options of `ragged.read`.

        Raises:
            DataError: it is not there, or not what was published.
        """
        found = Path(path) if path else local.need(self.name, self.folder, self.what, self.file)
        splits = ragged.read(found, **self.options, **options)
        local.verify(splits, self.name, str(found), self.shape, self.dim)
        info = replace(splits.info, name=self.name)
        return replace(splits, info=info, notes=(*splits.notes, *self.notes))
