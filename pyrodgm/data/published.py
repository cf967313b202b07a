"""Published datasets in the ragged format, found on this machine and checked for their size."""

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
    """A dataset whose file the user must provide.

    Args:
        name: of the dataset, as typed by the user.
        folder: subfolder of the places of `pyrodgm.data.local`.
        file: name of the file.
        what: description of the data and its source, for the error message.
        shape: published (sequences, frames) of train, valid and test, as they are read.
        dim: features per frame.
        options: of `ragged.read`.
        notes: remarks on the data.
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
        """The dataset from a given file, or from this machine.

        Args:
            path: the npz file.
            options: further options of `ragged.read`.

        Raises:
            DataError: the file was not found, or it is not the published dataset.
        """
        found = Path(path) if path else local.need(self.name, self.folder, self.what, self.file)
        splits = ragged.read(found, **self.options, **options)
        local.verify(splits, self.name, str(found), self.shape, self.dim)
        info = replace(splits.info, name=self.name)
        return replace(splits, info=info, notes=(*splits.notes, *self.notes))
