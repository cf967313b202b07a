"""A dataset: three splits of sequences, and the facts that models are built from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyrodgm.data.conditions import condition_facts, refuse_other_conditions
from pyrodgm.data.info import SPLITS, DataInfo, Kind
from pyrodgm.data.kinds import refuse_other_values
from pyrodgm.data.moments import moments, precision_of, rounded, without_rounding
from pyrodgm.data.sequences import Sequences
from pyrodgm.data.symbols import symbol_facts
from pyrodgm.errors import DataError, UsageError, did_you_mean

__all__ = ["SPLITS", "DataInfo", "Kind", "Sequences", "Splits"]


@dataclass(frozen=True)
class Splits:
    """A dataset: facts and three sets of sequences, split by sequence and never by frame.

    Args:
        info: facts about all three.
        train, valid, test: the sequences.
        sha256: digest of the file they were read from; empty where they were generated.
        notes: remarks of the reader of the data, one sentence each.
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
        """The sequences used in training: the training split, or its augmented version."""
        return self.train if self.augmented is None else self.augmented

    @classmethod
    def of(cls, name: str, kind: Kind, parts: Mapping[str, Sequences], **facts: Any) -> Splits:
        """Splits with measured moments and lengths; means stand in for missing values.

        Batches of real numbers are centred at the training means.

        Args:
            name: dataset name or file stem.
            kind: of the values in every part.
            parts: sequences under "train", "valid" and "test".
            facts: the optional fields of `DataInfo`.

        Raises:
            DataError: the parts differ in their features, values are of another kind, or some
                feature is never observed in training.

        >>> rows = Sequences(np.eye(2, dtype=np.uint8), np.ones(2))
        >>> Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), rows)).info.mean
        (0.5, 0.5)
        """
        _check_alike(name, parts)
        parts = {split: narrowed(part, kind, split) for split, part in parts.items()}
        train = parts["train"]
        mean, std = moments(train.x.numpy())
        _check_observed(name, mean)
        eps = precision_of(train.x.numpy())
        notes = rounded(mean, std, eps) if kind == "real" else ()
        std = without_rounding(mean, std, eps)
        info = DataInfo(
            name=name,
            kind=kind,
            dim=len(mean),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            step_std=_step_std(train, mean, std) if kind == "real" else (),
            centre=tuple(mean.tolist()) if kind == "real" else (),
            mean_length=float(train.lengths.mean()),
            num_frames=train.num_frames,
            max_length=max(int(part.lengths.max()) for part in parts.values()),
            has_missing=any(part.has_missing for part in parts.values()),
            **(_symbols(parts.items()) if kind == "categorical" else {}),
            **condition_facts(train.conditions),
            **facts,
        )
        splits = cls(info, train, parts["valid"], parts["test"], notes=notes)
        return splits.placed(info)

    def __getitem__(self, split: str) -> Sequences:
        splits = dict(self.items())
        if split not in splits:
            raise UsageError(f"unknown split '{split}'; {did_you_mean(split, splits)}")
        return splits[split]

    def items(self) -> Iterator[tuple[str, Sequences]]:
        """The sequences by the name of their split."""
        yield from zip(SPLITS, (self.train, self.valid, self.test), strict=True)

    def placed(self, info: DataInfo) -> Splits:
        """The same data in the form that models built from these facts expect.

        Missing values hold the fill of these facts, and batches are centred at their centre.
        """
        fill, centre = np.array(info.fill), np.array(info.centre) if info.centre else None
        parts = {split: part.placed(fill, centre) for split, part in self.items()}
        return replace(self, **parts, info=replace(self.info, centre=info.centre))


def _symbols(parts: Iterable[tuple[str, Sequences]]) -> dict[str, Any]:
    return symbol_facts({split: part.x.numpy() for split, part in parts})


def narrowed(part: Sequences, kind: Kind, split: str) -> Sequences:
    """Values in the smallest type that holds their kind: bits in bytes, real numbers unchanged.

    Raises:
        DataError: a value is not of this kind, or nothing was observed.
    """
    x = part.x.numpy()
    if np.isnan(x).all():
        raise DataError(f"'{split}' has only missing values (NaN); leave the array out or fill it")
    refuse_other_values(x, kind, split)
    if kind == "binary" and not part.has_missing:
        return part.narrowed(torch.uint8)
    return part.narrowed(torch.float32) if kind != "real" and x.dtype == np.float64 else part


def _step_std(sequences: Sequences, mean: np.ndarray, std: np.ndarray) -> tuple[float, ...]:
    """Standard deviations of the change from one frame to the next.

    Zero where no change was observed, for constant features, and below the rounding of the values.
    """
    x = sequences.x.numpy()
    changes = np.subtract(x[1:], x[:-1], dtype=np.float64)
    within = np.ones(len(changes), dtype=bool)
    within[sequences.starts[1:] - 1] = False
    _, step_std = moments(changes[within])
    step_std = without_rounding(mean, np.nan_to_num(step_std), precision_of(x))
    return tuple(np.where(std > 0, step_std, 0).tolist())


def _check_observed(name: str, mean: np.ndarray) -> None:
    """Refuse features that training never observes."""
    never = np.flatnonzero(np.isnan(mean))
    if len(never):
        shown = ", ".join(map(str, never[:5])) + (", ..." if len(never) > 5 else "")
        raise DataError(
            f"training never observes {len(never)} of the {len(mean)} features of '{name}' "
            f"({shown}): every value is NaN; leave these columns out, in all splits"
        )


def _check_alike(name: str, parts: Mapping[str, Sequences]) -> None:
    """Refuse splits that are missing, or that differ in their features."""
    if set(parts) != set(SPLITS):
        raise DataError(f"'{name}' has {', '.join(parts)}; expected {', '.join(SPLITS)}")
    if len({part.x.shape[1] for part in parts.values()}) > 1:
        given = ", ".join(f"'{split}' {part.x.shape[1]}" for split, part in parts.items())
        raise DataError(
            f"the splits differ in features per frame: {given}; all must have the "
            "same, in the same order"
        )
    refuse_other_conditions({split: part.conditions for split, part in parts.items()})
