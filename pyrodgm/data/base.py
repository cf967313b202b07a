"""What data is, once read: ragged sequences, three splits, and the facts models are built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.moments import moments, without_rounding
from pyrodgm.errors import DataError, UsageError, did_you_mean

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
        mean: per-feature mean over what training observed, D numbers.
        std: per-feature standard deviation of the same, D numbers; ones if not given.
        step_std: per-feature standard deviation of the change from one frame to the next, for real
            numbers, D of them; those of the frames if not given.
        mean_length: mean training sequence length, in frames.
        max_length: longest sequence of any split, in frames.
        image_shape: (height, width) where a frame is a picture.
        lowest_pitch: MIDI number of feature 0 where a frame is a row of a piano roll.
        frame_rate: frames per second, for pictures that move and for sound.
        words: what every feature counts, D words.
        frame_labels: what every frame is, for instance its year, where each split is a beginning
            of the same sequence; as many as its longest.
        has_missing: whether some feature of some frame, in any split, was not observed.
    """

    name: str
    kind: Kind
    dim: int
    mean: tuple[float, ...] = field(repr=False)
    mean_length: float
    max_length: int
    std: tuple[float, ...] = field(default=(), repr=False)
    step_std: tuple[float, ...] = field(default=(), repr=False)
    image_shape: tuple[int, int] | None = None
    lowest_pitch: int | None = None
    frame_rate: float = 10.0
    words: tuple[str, ...] = field(default=(), repr=False)
    frame_labels: tuple[str, ...] = field(default=(), repr=False)
    has_missing: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DataInfo:
        """The inverse of `to_dict`, also after a round trip through JSON."""
        facts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**facts)


class Sequences:
    """N sequences of unequal length, stored end to end.

    Args:
        x: all frames of all sequences, (sum of lengths, D), uint8, or float32 with NaN where a
            feature is missing.
        lengths: frames per sequence, (N,).
        fill: what batches hold where a feature is missing, (D,); `Splits.of` gives the training
            means. Zeros if not given.
        held_out: further observations of the same frames, (sum of lengths, D). They are for
            evaluation: `batch` leaves them out, so no model or guide is given them.

    >>> split = Sequences(np.ones((5, 2), np.uint8), np.array([2, 3]))
    >>> split.batch([0, 1]).mask.tolist()
    [[True, True, False], [True, True, True]]
    """

    def __init__(
        self,
        x: np.ndarray,
        lengths: np.ndarray,
        *,
        fill: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        self.x = torch.from_numpy(np.ascontiguousarray(x))
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self.fill = np.zeros(x.shape[1]) if fill is None else fill
        self.held_out = None if held_out is None else torch.from_numpy(held_out)
        # A minimum is NaN where any of its numbers is, and needs no memory.
        self.has_missing = bool(self.x.min().isnan())

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        """Frames over all sequences."""
        return int(self.lengths.sum())

    def sequence(self, row: int) -> torch.Tensor:
        """One sequence, (its length, D), as it is stored."""
        return self.x[self.starts[row] : self.starts[row] + self.lengths[row]]

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The given rows as a padded batch of torch's default dtype."""
        index = np.asarray(rows, dtype=np.int64)
        frames, mask = self._frames(index)
        x, seen = self.x[frames].to(torch.get_default_dtype()), None
        if self.has_missing:
            seen = mask[..., None] & ~x.isnan()
            x = x.where(seen, torch.from_numpy(self.fill).to(x))
        return Batch(x.masked_fill_(~mask[..., None], 0), mask, torch.from_numpy(index), seen)

    def held_out_batch(self, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
        """What is held out of the given rows, (B, T, D), zero where padded, frames as in `batch`.

        Raises:
            DataError: nothing is held out.
        """
        if self.held_out is None:
            raise DataError("nothing is held out of these sequences; see '<split>_held_out'")
        frames, mask = self._frames(np.asarray(rows, dtype=np.int64))
        x = self.held_out[frames].to(torch.get_default_dtype())
        return x.masked_fill_(~mask[..., None], 0)

    def select(self, rows: Sequence[int] | np.ndarray) -> Sequences:
        """The given rows, in the given order, as sequences of their own."""
        parts = [np.arange(self.starts[row], self.starts[row] + self.lengths[row]) for row in rows]
        frames = np.concatenate(parts)
        return Sequences(
            self.x.numpy()[frames],
            self.lengths[np.asarray(rows, dtype=np.int64)],
            fill=self.fill,
            held_out=None if self.held_out is None else self.held_out.numpy()[frames],
        )

    def filled(self, fill: np.ndarray) -> Sequences:
        """The same sequences with other numbers in place of what is missing, (D,)."""
        held_out = None if self.held_out is None else self.held_out.numpy()
        return Sequences(self.x.numpy(), self.lengths, fill=fill, held_out=held_out)

    def _frames(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Which frames a padded batch holds, and which of them are data, both (B, T)."""
        time = np.arange(self.lengths[rows].max())
        frames = np.minimum(self.starts[rows, None] + time, self.num_frames - 1)
        return torch.from_numpy(frames), torch.from_numpy(time < self.lengths[rows, None])


@dataclass(frozen=True)
class Splits:
    """A dataset: facts and three sets of sequences, split by sequence and never by frame.

    Args:
        info: facts about all three.
        train, valid, test: the sequences.
        sha256: digest of the file they were read from; empty where they were generated.
        notes: what a reader did or noticed that a person should know, one sentence each.
        augmented: the training sequences and variations of them; see `training`.
    """

    info: DataInfo
    train: Sequences
    valid: Sequences
    test: Sequences
    sha256: str = ""
    notes: tuple[str, ...] = ()
    augmented: Sequences | None = None

    @property
    def training(self) -> Sequences:
        """What training looks at: the training sequences, or more of their like."""
        return self.train if self.augmented is None else self.augmented

    @classmethod
    def of(cls, name: str, kind: Kind, parts: Mapping[str, Sequences], **facts: Any) -> Splits:
        """Splits whose moments and lengths are measured, and whose gaps the means fill.

        Args:
            name: dataset name or file stem.
            kind: of the values in every part.
            parts: sequences under "train", "valid" and "test".
            facts: the optional fields of `DataInfo`.

        Raises:
            DataError: training never observes some feature.

        >>> rows = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
        >>> Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), rows)).info.mean
        (0.5, 0.5)
        """
        train = parts["train"]
        mean, std = moments(train.x.numpy())
        _check_observed(name, mean)
        std = without_rounding(mean, std)
        info = DataInfo(
            name=name,
            kind=kind,
            dim=len(mean),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            step_std=_step_std(train, std) if kind == "real" else (),
            mean_length=float(train.lengths.mean()),
            max_length=max(int(part.lengths.max()) for part in parts.values()),
            has_missing=any(part.has_missing for part in parts.values()),
            **facts,
        )
        filled = {split: x.filled(mean) if x.has_missing else x for split, x in parts.items()}
        return cls(info, filled["train"], filled["valid"], filled["test"])

    def __getitem__(self, split: str) -> Sequences:
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        if split not in splits:
            raise UsageError(f"unknown split '{split}'; {did_you_mean(split, splits)}")
        return splits[split]


def _step_std(sequences: Sequences, std: np.ndarray) -> tuple[float, ...]:
    """Standard deviations of the change from one frame to the next, zero where none was seen.

    Nor is any of a constant feature, whose own is zero.
    """
    changes = np.diff(sequences.x.numpy(), axis=0)
    within = np.ones(len(changes), dtype=bool)
    within[sequences.starts[1:] - 1] = False
    _, step_std = moments(changes[within])
    return tuple(np.where(std > 0, np.nan_to_num(step_std), 0).tolist())


def _check_observed(name: str, mean: np.ndarray) -> None:
    """Refuse features of which training knows nothing."""
    never = np.flatnonzero(np.isnan(mean))
    if len(never):
        shown = ", ".join(map(str, never[:5])) + (", ..." if len(never) > 5 else "")
        raise DataError(
            f"training never observes {len(never)} of the {len(mean)} features of '{name}' "
            f"({shown}): every value is NaN; leave these columns out, in all splits"
        )
