"""Evaluation data of a fitted model: any sequences with the features that it was fitted on.

Data to fit has three splits, and its facts are measured. Evaluation data is one or more named sets
of sequences, and its facts are those that the model was fitted with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyrodgm.data.base import DataInfo, Kind, Sequences, Splits, narrowed
from pyrodgm.data.checks import check_table
from pyrodgm.data.kinds import infer_kind, refuse_other_values
from pyrodgm.data.labels import label_name, labelled, one_hot
from pyrodgm.data.pictures import as_table, grey_bytes
from pyrodgm.data.sound import restandardised
from pyrodgm.data.symbols import refuse_other_symbols
from pyrodgm.errors import DataError, UsageError, did_you_mean

Given = Sequences | np.ndarray | torch.Tensor | Sequence[Any]
GIVEN = "given"  # the name of sequences that come from Python


@dataclass(frozen=True)
class EvaluationData:
    """Sequences by name, prepared for a fitted model.

    Args:
        info: the facts that the model was fitted with, under the name of this data.
        parts: the sequences.
        notes: remarks on how they were read, one sentence each.
    """

    info: DataInfo
    parts: Mapping[str, Sequences]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Sequences:
        if name not in self.parts:
            raise UsageError(
                f"'{self.info.name}' has no '{name}'; {did_you_mean(name, self.parts)}"
            )
        return self.parts[name]

    def items(self) -> Iterator[tuple[str, Sequences]]:
        """The sequences by name."""
        yield from self.parts.items()

    @classmethod
    def of(
        cls,
        name: str,
        parts: Mapping[str, Sequences],
        info: DataInfo,
        *,
        kind: Kind | None = None,
        notes: tuple[str, ...] = (),
    ) -> EvaluationData:
        """Sequences prepared for a model that was fitted on other data.

        Values are read as the kind that the model was fitted on; grey values for a model of bits
        stay grey, and are scored by cross-entropy. Missing values hold the same fill as in the fit.

        Args:
            name: of the data.
            parts: sequences by name, values of any kind.
            info: facts of the data that the model was fitted on.
            kind: of the values, where it is known; for messages.
            notes: remarks on how they were read.

        Raises:
            DataError: features, conditions or kind of values differ from those of the fit.
        """
        values = {split: part.x.numpy() for split, part in parts.items()}
        for x in values.values():
            if x.shape[1] != info.dim:
                raise DataError(
                    f"the model was fitted on '{info.name}' with {info.dim} features per frame, "
                    f"but '{name}' has {x.shape[1]}; give data with the same features"
                )
        _check_conditions(name, parts, info)
        try:
            taken = _kind(values, info)
        except DataError as error:
            raise DataError(
                f"the model was fitted on {info.kind} data, but '{name}' has "
                f"{kind or infer_kind(values)} values: {error}"
            ) from error
        fill, centre = np.array(info.fill), np.array(info.centre) if info.centre else None
        placed = {
            split: narrowed(part, taken, split).placed(fill, centre)
            for split, part in parts.items()
        }
        has_missing = any(part.has_missing for part in parts.values())
        facts = replace(info, name=name, kind=taken, has_missing=has_missing)
        return cls(facts, placed, notes)

    @classmethod
    def of_splits(cls, splits: Splits, info: DataInfo) -> EvaluationData:
        """Three splits prepared for a model that was fitted on other data; see `of`."""
        parts, given = dict(splits.items()), splits.info
        if info.audio and given.audio and info.audio != given.audio:
            parts = {n: restandardised(part, given.audio, info.audio) for n, part in parts.items()}
        if info.classes and given.classes and info.classes != given.classes:
            parts = {n: _recoded(n, p, given.classes, info.classes) for n, p in parts.items()}
        return cls.of(given.name, parts, info, kind=given.kind, notes=splits.notes)


Data = Splits | EvaluationData  # data that a fitted model can be evaluated on


def given_data(x: Given, info: DataInfo) -> EvaluationData:
    """Sequences from Python, prepared for a fitted model, under the name "given".

    Args:
        x: one sequence, (T, D); several of one length, (N, T, D); a list of sequences, each (T, D);
            or `Sequences`. For a model of independent rows, (T, D) holds T rows. NaN is a missing
            value.
        info: facts of the data that the model was fitted on.

    Raises:
        DataError: the arrays have another form, or other features or values than the model's data.
    """
    if isinstance(x, Sequences):
        return EvaluationData.of(GIVEN, {GIVEN: x}, info)
    return EvaluationData.of(GIVEN, {GIVEN: sequences_of(GIVEN, _array(x, info), info)}, info)


def sequences_of(
    name: str,
    x: np.ndarray | list[np.ndarray],
    info: DataInfo,
    *,
    lengths: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    conditions: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Sequences:
    """Checked sequences from arrays.

    Args:
        name: for messages.
        x: frames end to end or one sequence, (frames, D); several sequences (N, T, D), padded if
            lengths are given; or a list of sequences. Frames that are pictures may have their
            shape, as in files.
        info: facts of the data that the model was fitted on.
        lengths: frames of each sequence, (N,). If not given, the frames are independent rows for a
            model of rows, and one sequence for any other model.
        held_out: counts beside the frames, for evaluation alone, (frames, D).
        conditions: of the frames, (frames, U).
        labels: of the frames, (frames,), if the model was fitted with classes as conditions.

    Raises:
        DataError: with the first check that failed.
    """
    if isinstance(x, list):
        lengths = np.array([len(each) for each in x], dtype=np.int64)
        x = np.concatenate(x) if len({each.shape[1:] for each in x}) == 1 else _refuse_unlike(x)
    x = np.atleast_1d(x)
    if x.ndim == 1 and info.dim == 1:
        x = x[:, None]
    if info.image_shape and _are_pictures(x, info):
        x = as_table(name, x, info.image_shape)
    if x.ndim == 3:
        x, lengths = _end_to_end(name, x, lengths)
    check_table(name, x)
    x = grey_bytes({name: x})[name] if info.kind == "unit" else x
    if labels is not None:
        conditions = labelled(name, len(x), labels, conditions, info.classes)
    if lengths is None:
        rows = info.max_length == 1
        lengths = np.ones(len(x), np.int64) if rows else np.array([len(x)])
    return Sequences(x, lengths, held_out=held_out, conditions=conditions, name=name)


def _are_pictures(x: np.ndarray, info: DataInfo) -> bool:
    """Whether an array has pictures, perhaps of another size, and not sequences (N, T, D)."""
    if x.ndim != 3:
        return x.ndim == 4
    channels, *size = info.picture_shape
    fits = channels == 1 and list(x.shape[1:]) == size
    return fits or (info.max_length == 1 and x.shape[2] != info.dim)


def _recoded(
    name: str, part: Sequences, given: tuple[str, ...], classes: tuple[str, ...]
) -> Sequences:
    """Sequences whose last conditions code the classes of the fit in the place of given ones.

    Raises:
        DataError: a class does not occur in training.
    """
    if part.conditions is None or part.conditions.shape[1] < len(given):
        return part  # which is refused as it is
    others, coded = part.conditions.split([part.conditions.shape[1] - len(given), len(given)], 1)
    words = np.array(given)[coded.argmax(1).numpy()]
    recoded = torch.from_numpy(one_hot(label_name(name), words.tolist(), classes)).to(coded)
    return part.conditioned(torch.cat([others, recoded], 1))


def _check_conditions(name: str, parts: Mapping[str, Sequences], info: DataInfo) -> None:
    """Refuse sequences with other conditions than a model was fitted with."""
    for part in parts.values():
        found = 0 if part.conditions is None else part.conditions.shape[-1]
        if found != info.num_conditions:
            raise DataError(
                f"the model was fitted on frames with {info.num_conditions} conditions each, but "
                f"those of '{name}' have {found}; give them as '<frames>_conditions' (classes "
                "also as '<frames>_labels'), or from Python as Sequences(x, lengths, "
                "conditions=...)"
            )


def _kind(values: Mapping[str, np.ndarray], info: DataInfo) -> Kind:
    """The kind as which a fitted model reads values."""
    if info.kind == "binary" and infer_kind(dict(values)) == "unit":
        return "unit"
    for name, x in values.items():
        refuse_other_values(x, info.kind, name)
        if info.kind == "categorical":
            refuse_other_symbols(x, info.symbols, name)
    return info.kind


def _array(x: Any, info: DataInfo) -> np.ndarray | list[np.ndarray]:
    """Input from Python as one array, or as a list with one array per sequence."""
    try:
        if isinstance(x, list | tuple) and x and not np.isscalar(x[0]):
            each = [np.asarray(part) for part in x]
            if each[0].ndim == 2 or (each[0].ndim == 1 and info.dim == 1):
                return [part[:, None] if part.ndim == 1 else part for part in each]
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"cannot read {type(x).__name__} as data ({error}); give one sequence (T, {info.dim}), "
            "a list of such arrays, or Sequences"
        ) from error


def _refuse_unlike(x: list[np.ndarray]) -> np.ndarray:
    shapes = ", ".join(str(each.shape) for each in x[:5]) + (", ..." if len(x) > 5 else "")
    raise DataError(f"sequences have shapes {shapes}; give each as (frames, features)")


def _end_to_end(
    name: str, x: np.ndarray, lengths: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of one length, (N, T, D), or padded ones with their lengths, without padding."""
    if lengths is None:
        lengths = np.full(len(x), x.shape[1], np.int64)
    if lengths.shape != (len(x),) or lengths.dtype.kind not in "ui" or (lengths > x.shape[1]).any():
        raise DataError(
            f"'{name}' has shape {x.shape} and its lengths shape {lengths.shape}; expected "
            f"{len(x)} whole numbers up to {x.shape[1]}"
        )
    return x[np.arange(x.shape[1]) < lengths[:, None]], lengths
