"""What data is, once read: ragged sequences, three splits, and the facts models are built from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.info import SPLITS, DataInfo, Kind
from pyrodgm.data.kinds import refuse_other_values
from pyrodgm.data.moments import moments, without_rounding
from pyrodgm.data.symbols import refuse_other_symbols, symbol_facts
from pyrodgm.errors import DataError, UsageError, did_you_mean

__all__ = ["SPLITS", "DataInfo", "Kind", "Sequences", "Splits"]


class Sequences:
    """N sequences of unequal length, stored end to end.

    Args:
        x: all frames of all sequences, (sum of lengths, D), uint8, or float32 with NaN where a
            feature is missing.
        lengths: frames per sequence, (N,).
        fill: what batches hold where a feature is missing, (D,); `Splits.of` gives the training
            means. Zeros if not given.
        held_out: further observations of the same frames, (sum of lengths, D). They are for
            evaluation: `batch` leaves them out, so no model or guide is given them. All zero is
            as good as none.

    Raises:
        DataError: frames are not a table, or lengths do not add up to them.

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
        _check_shapes(x, np.asarray(lengths))
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        self.fill = np.zeros(x.shape[1]) if fill is None else fill
        holds = held_out is not None and bool(np.any(held_out))
        self.held_out = torch.from_numpy(held_out) if holds else None
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
            DataError: a part has other features or values of another kind, or training never
                observes some feature.

        >>> rows = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
        >>> Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), rows)).info.mean
        (0.5, 0.5)
        """
        _check_alike(name, parts)
        for split, part in parts.items():
            refuse_other_values(part.x.numpy(), kind, split)
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
            **(_symbols(parts.items()) if kind == "categorical" else {}),
            **facts,
        )
        splits = cls(info, parts["train"], parts["valid"], parts["test"])
        return splits.filled(info.fill) if info.has_missing else splits

    def __getitem__(self, split: str) -> Sequences:
        splits = dict(self.items())
        if split not in splits:
            raise UsageError(f"unknown split '{split}'; {did_you_mean(split, splits)}")
        return splits[split]

    def items(self) -> Iterator[tuple[str, Sequences]]:
        """The sequences by the name of their split."""
        yield from zip(SPLITS, (self.train, self.valid, self.test), strict=True)

    def filled(self, fill: Sequence[float]) -> Splits:
        """The same data with other numbers in place of what is missing, (D,)."""
        numbers = np.array(fill)
        return replace(self, **{split: part.filled(numbers) for split, part in self.items()})

    def taken_for(self, kind: Kind) -> Splits:
        """The same data, its values taken for those of another kind.

        Raises:
            DataError: the values are of no such kind.

        >>> part = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
        >>> bits = Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), part))
        >>> bits.taken_for("unit").info.kind
        'unit'
        """
        for split, part in self.items():
            refuse_other_values(part.x.numpy(), kind, split)
        facts = _symbols(self.items()) if kind == "categorical" else {}
        info = replace(self.info, kind=kind, **facts)
        return replace(self, info=info).filled(info.fill)

    def with_symbols_of(self, info: DataInfo) -> Splits:
        """The same categorical data, its symbols numbered as those of other data.

        Args:
            info: facts of the other data.

        Raises:
            DataError: a symbol is not one of the other data.
        """
        for split, part in self.items():
            refuse_other_symbols(part.x.numpy(), info.symbols, split)
        facts = {"symbols": info.symbols, "frequencies": info.frequencies}
        return replace(self, info=replace(self.info, **facts))


def _symbols(parts: Iterable[tuple[str, Sequences]]) -> dict[str, Any]:
    return symbol_facts({split: part.x.numpy() for split, part in parts})


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


def _check_shapes(x: np.ndarray, lengths: np.ndarray) -> None:
    """Refuse frames that are no table, and lengths that do not cut it."""
    if x.ndim != 2:
        raise DataError(f"frames have shape {x.shape}; expected (frames, features), end to end")
    whole = lengths == np.trunc(lengths)
    if lengths.ndim != 1 or not (whole & (lengths >= 1)).all() or lengths.sum() != len(x):
        raise DataError(
            f"{lengths.size} lengths add up to {lengths.sum()} and there are {len(x)} frames; "
            "expected a whole number from one for every sequence, adding up to all frames"
        )


def _check_alike(name: str, parts: Mapping[str, Sequences]) -> None:
    """Refuse splits that are not there, or not of the same features."""
    if set(parts) != set(SPLITS):
        raise DataError(f"'{name}' has {', '.join(parts)}; expected {', '.join(SPLITS)}")
    if len(dims := {part.x.shape[1] for part in parts.values()}) > 1:
        raise DataError(f"the splits of '{name}' differ in features per frame: {sorted(dims)}")
