"""Labels of frames: classes for evaluation, and conditions with a column for each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pyrodgm.data.info import SPLITS, DataInfo
from pyrodgm.errors import DataError, UsageError, did_you_mean

MOST_CLASSES = 1000
Arrays = Mapping[str, np.ndarray]


def label_name(split: str) -> str:
    """The name of the array with the labels of a split."""
    return f"{split}_labels"


def with_labels(arrays: Arrays, labels: Arrays) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays of a file with labels among the conditions, and the classes, in ascending order.

    Args:
        arrays: frames and their conditions by name, such as "train" and "train_conditions".
        labels: of every frame, (frames,), by split; numbers or words.

    Raises:
        DataError: a split has no labels or a wrong number of them, or a label that does not occur
            in training.

    >>> arrays = {"train": np.zeros((3, 2))}
    >>> found, classes = with_labels(arrays, {"train": np.array([7, 10, 7])})
    >>> found["train_conditions"].tolist(), classes
    ([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], ('7', '10'))
    """
    words = {split: _as_words(label_name(split), each) for split, each in labels.items()}
    if "train" not in words:
        raise DataError("labels were asked for, but there is no array 'train_labels'; add it")
    classes = classes_of(words["train"])
    found = dict(arrays)
    for split in (split for split in SPLITS if split in arrays):
        if split not in words:
            raise DataError(f"there is no array '{label_name(split)}'; all splits need labels")
        given = arrays.get(f"{split}_conditions")
        beside = labelled(split, len(arrays[split]), np.array(words[split]), given, classes)
        found[f"{split}_conditions"] = beside
    return found, classes


def labels_beside(arrays: Arrays, labels: Arrays) -> tuple[dict[str, np.ndarray], list[str]]:
    """Labels of frames as words, for evaluation, and a note on how they are used.

    Labels with a mistake are left out, and the note says what it is: without conditions, only
    evaluation needs them.

    Args:
        arrays: frames by split.
        labels: of every frame, (frames,), by split.

    >>> rows = {"train": np.zeros((3, 2))}
    >>> labels_beside(rows, {"train": np.array([1, 2])})  # doctest: +NORMALIZE_WHITESPACE
    ({}, ["labels are left out: 'train_labels' has 2 labels, but 'train' has 3 frames; give one
    for every frame"])
    """
    if not labels:
        return {}, []
    try:
        coded, _ = with_labels({k: x for k, x in arrays.items() if k in SPLITS}, labels)
    except DataError as error:
        return {}, [f"labels are left out: {error}"]
    words = {k: np.array(_as_words(label_name(k), x)) for k, x in labels.items() if k in coded}
    found = sorted(set(words["train"].tolist()))
    notes = [
        f"labels of {len(found)} classes are used in evaluation alone; with labels=True (--set "
        "data.labels=true) the class of a frame is a condition"
    ]
    if len(found) == 1:
        notes = [f"all labels are '{found[0]}': one class says nothing, so that they are left out"]
        return {}, notes
    if below := [word for word in found if word.startswith("-") and word[1:].isdigit()]:
        notes.append(f"the label {below[0]} is a class of its own; leave rows without a label out")
    return words, notes


def labelled(
    name: str,
    num_frames: int,
    labels: np.ndarray,
    conditions: np.ndarray | None,
    classes: Sequence[str],
) -> np.ndarray:
    """Conditions of frames, and then the coding of their labels, (frames, U).

    Args:
        name: of the frames.
        num_frames: number of frames.
        labels: of every frame, (frames,).
        conditions: further conditions, if any.
        classes: all labels that there are.

    Raises:
        DataError: there is not one label for every frame, or it is not one of the classes.
    """
    words = _as_words(label_name(name), labels)
    if len(words) != num_frames:
        raise DataError(
            f"'{label_name(name)}' has {len(words)} labels, but '{name}' has {num_frames} frames; "
            "give one for every frame"
        )
    coded = one_hot(label_name(name), words, classes)
    if conditions is None or conditions.ndim != 2 or len(conditions) != num_frames:
        return coded if conditions is None else conditions  # which is refused as it is
    return np.hstack([conditions, coded])


def classes_of(words: Sequence[str]) -> tuple[str, ...]:
    """Different labels in ascending order, of numbers if all are.

    Raises:
        DataError: there are more than a thousand.
    """
    found = set(words)
    if len(found) > MOST_CLASSES:
        raise DataError(
            f"there are {len(found)} different labels; at most {MOST_CLASSES} can be conditions"
        )
    whole = all(word.isascii() and word.removeprefix("-").isdigit() for word in found)
    return tuple(sorted(found, key=int if whole else str))


def one_hot(name: str, labels: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """The coding of labels, (labels, classes).

    Raises:
        DataError: a label is not one of the classes.
    """
    places = {word: place for place, word in enumerate(classes)}
    labels = list(labels)
    if unknown := [word for word in labels if word not in places]:
        raise DataError(
            f"'{name}' has the label '{unknown[0]}', which does not occur in training; "
            f"{did_you_mean(unknown[0], classes)}"
        )
    return np.eye(len(classes))[[places[word] for word in labels]]


def labels_as_conditions(
    info: DataInfo, labels: Sequence[str], num: int, length: int
) -> np.ndarray:
    """Conditions of sequences with labels, which are used in turn, (num, length, U).

    Args:
        info: facts of the data, with classes.
        labels: of all frames of a sequence.
        num: how many sequences.
        length: frames of each.

    Raises:
        UsageError: the data has no classes, or further conditions, or not such a class.
    """
    if not info.classes:
        raise UsageError(
            f"labels were given, but a model of '{info.name}' was fitted without; fit with "
            "data.labels=true (--set data.labels=true), or give conditions"
        )
    if len(info.classes) < info.num_conditions:
        raise UsageError(
            f"'{info.name}' has further conditions beside its classes; give all "
            f"{info.num_conditions} as conditions"
        )
    labels = [str(label) for label in labels]  # whole numbers too
    for label in labels:
        if label not in info.classes:
            raise UsageError(f"unknown label '{label}'; {did_you_mean(label, info.classes)}")
    coded = one_hot("labels", np.resize(np.array(labels), num).tolist(), info.classes)
    return np.repeat(coded[:, None], length, 1)


def _as_words(name: str, labels: np.ndarray) -> list[str]:
    """Labels as words; numbers must be whole.

    Raises:
        DataError: the array is not a vector of whole numbers or words.
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    whole = labels.dtype.kind in "bui" or (
        labels.dtype.kind == "f" and bool((labels == np.round(labels)).all())
    )
    if labels.ndim != 1 or not (whole or labels.dtype.kind == "U"):
        raise DataError(
            f"'{name}' has shape {labels.shape} and type {labels.dtype}; expected a whole number "
            "or a word for every frame, (frames,)"
        )
    return [str(each) for each in (labels.astype(np.int64) if whole else labels).tolist()]
