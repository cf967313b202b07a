"""What data is, once read: ragged sequences, three splits, and the facts models are built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.errors import UsageError, did_you_mean

Kind = Literal["binary", "unit", "count", "real"]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class DataInfo:
    """Facts about a dataset; models and guides are built from it, never from the data itself.

    Args:
        name: dataset name or file stem.
        kind: "binary" for {0,1}, "unit" for grey values in [0,1], "count" for whole numbers from
            zero, "real" for anything else.
        dim: observed features per frame, D.
        mean: per-feature mean over all training frames, D numbers.
        std: per-feature standard deviation over all training frames, D numbers; ones if not given.
        mean_length: mean training sequence length, in frames.
        max_length: longest sequence of any split, in frames.
        image_shape: (height, width) where a frame is a picture.
        lowest_pitch: MIDI number of feature 0 where a frame is a row of a piano roll.
        frame_rate: frames per second, for pictures that move and for sound.
    """

    name: str
    kind: Kind
    dim: int
    mean: tuple[float, ...] = field(repr=False)
    mean_length: float
    max_length: int
    std: tuple[float, ...] = field(default=(), repr=False)
    image_shape: tuple[int, int] | None = None
    lowest_pitch: int | None = None
    frame_rate: float = 10.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataInfo:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        shape = values.get("image_shape")
        numbers = {key: tuple(values.get(key, ())) for key in ("mean", "std")}
        return cls(**{**values, **numbers, "image_shape": tuple(shape) if shape else None})


class Sequences:
    """N sequences of unequal length, stored end to end.

    Args:
        x: all frames of all sequences, (sum of lengths, D), uint8 or float32.
        lengths: frames per sequence, (N,).

    >>> split = Sequences(np.ones((5, 2), np.uint8), np.array([2, 3]))
    >>> split.batch([0, 1]).mask.tolist()
    [[True, True, False], [True, True, True]]
    """

    def __init__(self, x: np.ndarray, lengths: np.ndarray) -> None:
        self.x = torch.from_numpy(np.ascontiguousarray(x))
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        """Frames over all sequences."""
        return int(self.lengths.sum())

    def sequence(self, row: int) -> torch.Tensor:
        """One sequence, (its length, D), in the stored dtype."""
        return self.x[self.starts[row] : self.starts[row] + self.lengths[row]]

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The given rows as a padded batch of torch's default dtype."""
        rows = np.asarray(rows, dtype=np.int64)
        time = np.arange(self.lengths[rows].max())
        frames = np.minimum(self.starts[rows, None] + time, self.num_frames - 1)
        mask = torch.from_numpy(time < self.lengths[rows, None])
        x = self.x[torch.from_numpy(frames)].to(torch.get_default_dtype())
        return Batch(x.masked_fill_(~mask[..., None], 0), mask, torch.from_numpy(rows))

    def select(self, rows: Sequence[int] | np.ndarray) -> Sequences:
        """The given rows, in the given order, as sequences of their own."""
        frames = torch.cat([self.sequence(int(row)) for row in rows])
        return Sequences(frames.numpy(), self.lengths[np.asarray(rows, dtype=np.int64)])


@dataclass(frozen=True)
class Splits:
    """A dataset: facts and three sets of sequences, split by sequence and never by frame.

    Args:
        info: facts about all three.
        train, valid, test: the sequences.
        sha256: digest of the file they were read from; empty where they were generated.
        notes: what a reader did or noticed that a person should know, one sentence each.
    """

    info: DataInfo
    train: Sequences
    valid: Sequences
    test: Sequences
    sha256: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, kind: Kind, parts: Mapping[str, Sequences], **facts: Any) -> Splits:
        """Splits whose means and lengths are measured.

        Args:
            name: dataset name or file stem.
            kind: of the values in every part.
            parts: sequences under "train", "valid" and "test".
            facts: the optional fields of `DataInfo`.

        >>> rows = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
        >>> Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), rows)).info.mean
        (0.5, 0.5)
        """
        train = parts["train"]
        info = DataInfo(
            name=name,
            kind=kind,
            dim=train.x.shape[1],
            mean=tuple(train.x.numpy().mean(0, dtype=np.float64).tolist()),
            mean_length=float(train.lengths.mean()),
            max_length=max(int(part.lengths.max()) for part in parts.values()),
            **facts,
        )
        return cls(info, parts["train"], parts["valid"], parts["test"])

    def __getitem__(self, split: str) -> Sequences:
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        if split not in splits:
            raise UsageError(f"unknown split '{split}'; {did_you_mean(split, splits)}")
        return splits[split]
