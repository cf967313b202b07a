"""Polyphonic music: four collections of piano rolls with 88 keys (Boulanger-Lewandowski, 2012).

Each is looked for in the folder PYRODGM_DATA, then in the user's cache, and then downloaded. What
is found must have the sequences and frames of the published splits.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from pyrodgm.data import ragged
from pyrodgm.data.base import SPLITS, Sequences, Splits
from pyrodgm.errors import DataError

SOURCE = "https://github.com/pyro-ppl/datasets/blob/master/polyphonic"
ENVIRONMENT = "PYRODGM_DATA"
Shape = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Collection:
    """A collection of pieces.

    Args:
        name: what a person types.
        stem: file name, without its suffix, that the collection goes by.
        shape: published (sequences, frames) of train, valid and test.
        frame_rate: frames per second at 120 quarter notes a minute.
        url: address of the pickle.
    """

    name: str
    stem: str
    shape: Shape
    frame_rate: float
    url: str

    def load(self, path: str | Path | None = None) -> Splits:
        """The collection from a file, or from wherever it is found, or from the internet.

        Args:
            path: a ragged npz, or a pickle of lists of notes as published.

        Raises:
            DataError: it is not to be had, or what was found is not the published collection.
        """
        found = Path(path).expanduser() if path else self._find()
        splits = _read(found) if found else self._download()
        self._verify(splits, str(found or self.url))
        info = replace(
            splits.info,
            name=self.name,
            lowest_pitch=ragged.LOWEST_PIANO_PITCH,
            frame_rate=self.frame_rate,
        )
        return replace(splits, info=info)

    def _find(self) -> Path | None:
        folders = [_cache()]
        if given := os.environ.get(ENVIRONMENT):
            folders = [Path(given).expanduser(), Path(given).expanduser() / "polyphonic", *folders]
        names = [f"{self.stem}{suffix}" for suffix in (".npz", ".pickle", ".pkl")]
        files = (folder / name for folder in folders for name in names)
        return next((file for file in files if file.is_file()), None)

    def _download(self) -> Splits:
        """Fetch and verify the pickle, and leave nothing but a ragged npz in the cache."""
        target = _cache() / f"{self.stem}.npz"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
                file = Path(folder, f"{self.stem}.pickle")
                pooch.HTTPDownloader(timeout=30)(self.url, str(file), None)
                splits = read_pickle(file)
            self._verify(splits, self.url)
            ragged.write(target, splits)
        except OSError as error:
            raise DataError(self._how_to_get(error)) from error
        return ragged.read(target)

    def _verify(self, splits: Splits, origin: str) -> None:
        parts = (splits.train, splits.valid, splits.test)
        shape = tuple((len(part), part.num_frames) for part in parts)
        if shape != self.shape or splits.info.dim != ragged.PIANO_KEYS:
            raise DataError(
                f"'{origin}' is not the published {self.name}: expected {ragged.PIANO_KEYS} keys "
                f"and (sequences, frames) {self.shape}, found {splits.info.dim} and {shape}. "
                "To use it all the same, give its path, as a ragged npz, in place of the name"
            )

    def _how_to_get(self, error: OSError) -> str:
        return (
            f"'{self.name}' is not on this machine and could not be downloaded ({error}). Either "
            f"(1) download {self.url} by hand and put it into {_cache()} as {self.stem}.pickle, "
            f"(2) set {ENVIRONMENT} to a folder with {self.stem}.npz or {self.stem}.pickle, or "
            "(3) name such a file with the option path"
        )


JSB = Collection(
    name="jsb",
    stem="jsb_chorales",
    shape=((229, 13807), (76, 4602), (77, 4725)),
    frame_rate=2.0,
    url=f"{SOURCE}/jsb_chorales.pickle?raw=true",
)
NOTTINGHAM = Collection(
    name="nottingham",
    stem="nottingham",
    shape=((694, 176561), (173, 45513), (170, 44463)),
    frame_rate=4.0,
    url=f"{SOURCE}/nottingham.pickle?raw=true",
)
PIANO = Collection(
    name="piano",
    stem="piano_midi",
    shape=((87, 75911), (12, 8540), (25, 19036)),
    frame_rate=4.0,
    url=f"{SOURCE}/piano_midi.pickle?raw=true",
)
MUSE = Collection(
    name="muse",
    stem="muse_data",
    shape=((524, 245202), (135, 82755), (124, 64339)),
    frame_rate=4.0,
    url=f"{SOURCE}/muse_data.pickle?raw=true",
)


def loader(collection: Collection) -> Callable[..., Splits]:
    """The collection's loader, with the signature that configurations and `data.load` read."""

    def load(*, path: str | None = None) -> Splits:
        return collection.load(path)

    load.__doc__ = f"Polyphonic music as piano rolls: {collection.name}. `path` names a file of it."
    return load


def read_pickle(path: Path) -> Splits:
    """Read a pickled collection, {split: pieces}, a piece being a list of tuples of MIDI pitches.

    Only lists, tuples, dicts, strings and integers are unpickled, so no program in it can run.

    Raises:
        DataError: it holds anything else, or is cut short.
    """
    try:
        with path.open("rb") as file:
            pieces = _PlainUnpickler(file).load()
        parts = {split: _piano_rolls(pieces[split]) for split in SPLITS}
    except Exception as error:  # a damaged pickle raises almost anything
        raise DataError(
            f"'{path.name}' is not a collection of piano rolls, or is cut short "
            f"({type(error).__name__}: {error}); download it again"
        ) from error
    return Splits.of(path.stem, "binary", parts)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused: it asks for {module}.{name}")


def _piano_rolls(pieces: list[list[tuple[int, ...]]]) -> Sequences:
    lengths = np.array([len(piece) for piece in pieces])
    frames = [frame for piece in pieces for frame in piece]
    rows = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    keys = np.array([pitch for frame in frames for pitch in frame]) - ragged.LOWEST_PIANO_PITCH
    if keys.min() < 0:
        raise ValueError(f"pitch {keys.min() + ragged.LOWEST_PIANO_PITCH} is below the piano")
    x = np.zeros((len(frames), ragged.PIANO_KEYS), np.uint8)
    x[rows, keys] = 1
    return Sequences(x, lengths)


def _read(path: Path) -> Splits:
    return read_pickle(path) if path.suffix in {".pickle", ".pkl"} else ragged.read(path)


def _cache() -> Path:
    return Path(pooch.os_cache("pyrodgm"))
