"""Polyphonic music: four collections of piano rolls with 88 keys (Boulanger-Lewandowski, 2012).

Each is searched for on this machine (`pyrodgm.data.local`), and else downloaded. The data must have
the number of sequences and frames of the published splits.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pooch

from pyrodgm.access import access_in_words
from pyrodgm.data import local, ragged
from pyrodgm.data.base import SPLITS, Sequences, Splits
from pyrodgm.errors import DataError, UsageError

SOURCE = "https://github.com/pyro-ppl/datasets/blob/master/polyphonic"
FOLDER = "polyphonic"


@dataclass(frozen=True)
class Collection:
    """A collection of pieces.

    Args:
        name: of the dataset, as typed by the user.
        stem: name of the file, without its suffix.
        shape: published (sequences, frames) of train, valid and test.
        frame_rate: frames per second at 120 quarter notes a minute.
        url: address of the pickle.
    """

    name: str
    stem: str
    shape: local.Shape
    frame_rate: float
    url: str

    def load(self, path: str | Path | None = None, *, transpose: int = 0) -> Splits:
        """The collection from a given file, from this machine, or from the internet.

        Args:
            path: a ragged npz, or a pickle of lists of notes as published.
            transpose: semitones up and down that training pieces are also moved by; see
                `transposed`.

        Raises:
            DataError: the collection was not found, or it is not the published one.
            UsageError: a negative number of semitones.
        """
        if transpose < 0:
            raise UsageError(f"transpose is {transpose}; give semitones, 0 or more")
        names = [f"{self.stem}{suffix}" for suffix in (".npz", ".pickle", ".pkl")]
        found = Path(path).expanduser() if path else local.find(FOLDER, names)
        splits = _read(found) if found else self._download()
        self._verify(splits, str(found or self.url))
        info = replace(
            splits.info,
            name=self.name,
            lowest_pitch=ragged.LOWEST_PIANO_PITCH,
            frame_rate=self.frame_rate,
        )
        augmented = transposed(splits.train, transpose) if transpose else None
        return replace(splits, info=info, augmented=augmented)

    def _download(self) -> Splits:
        """Download and verify the pickle, and keep only a ragged npz in the cache."""
        target = local.cache() / f"{self.stem}.npz"
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
        local.verify(splits, self.name, origin, self.shape, ragged.PIANO_KEYS)

    def _how_to_get(self, error: OSError) -> str:
        return (
            f"'{self.name}' is not on this machine and could not be downloaded ({error}). Either "
            f"(1) download {self.url} by hand and put it into {local.cache()} as "
            f"{self.stem}.pickle, (2) set {local.ENVIRONMENT} to a folder with {self.stem}.npz or "
            f"{self.stem}.pickle, or (3) name such a file with the option path"
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
    """The collection's loader; configurations and `data.load` read its signature."""

    def load(*, path: str | None = None, transpose: int = 0) -> Splits:
        return collection.load(path, transpose=transpose)

    load.__doc__ = (
        f"Polyphonic music as piano rolls: {collection.name}.\n\n"
        "Args:\n"
        "    path: a ragged npz, or a pickle of lists of notes as published.\n"
        "    transpose: semitones up and down that training pieces are also moved by.\n"
    )
    return load


def transposed(pieces: Sequences, most: int) -> Sequences:
    """Pieces as they are, followed by the same pieces in other keys.

    Args:
        pieces: piano rolls in bytes.
        most: semitones up and down; a transposition that leaves the keyboard is omitted.

    >>> piece = Sequences(np.eye(1, 88, 86, dtype=np.uint8), np.array([1]))
    >>> transposed(piece, 2).x.numpy().argmax(1).tolist()
    [86, 84, 85, 87]
    """
    ever = np.maximum.reduceat(pieces.x.numpy(), pieces.starts)
    lowest, highest = ever.argmax(1), ever.shape[1] - 1 - ever[:, ::-1].argmax(1)
    frames, lengths = [pieces.x.numpy()], [pieces.lengths]
    for shift in [*range(-most, 0), *range(1, most + 1)]:
        rows = np.flatnonzero((lowest + shift >= 0) & (highest + shift < ever.shape[1]))
        if len(rows):
            moved = pieces.select(rows)
            frames.append(np.roll(moved.x.numpy(), shift, axis=1))
            lengths.append(moved.lengths)
    return Sequences(np.concatenate(frames), np.concatenate(lengths))


def read_pickle(path: Path) -> Splits:
    """Read a pickled collection, {split: pieces}, a piece being a list of tuples of MIDI pitches.

    Only lists, tuples, dicts, strings and integers are unpickled, so it cannot run code.

    Raises:
        DataError: it holds anything else, or is truncated.
    """
    try:
        with access_in_words(DataError), path.open("rb") as file:
            pieces = _PlainUnpickler(file).load()
        parts = {split: _piano_rolls(pieces[split]) for split in SPLITS}
    except DataError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise DataError(
            f"'{path.name}' is not a collection of piano rolls, or is truncated "
            f"({type(error).__name__}: {error}); download it again"
        ) from error
    return replace(Splits.of(path.stem, "binary", parts), sha256=local.sha256(path))


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused: it refers to {module}.{name}")


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
