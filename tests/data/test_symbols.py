"""Symbols of categorical data: found in all splits, counted in training, and known afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.data.ragged import read, write
from pyrodgm.errors import DataError

NAN = np.nan
TRAIN = np.array([[1, 5], [2, 5], [2, NAN], [6, 9]], np.float32)
TEST = np.array([[3, 5], [NAN, 9]], np.float32)
SYMBOLS = ((1, 2, 3, 6), (5, 9))


def splits() -> Splits:
    parts = {"train": TRAIN, "valid": TRAIN[:1], "test": TEST}
    return Splits.of(
        "signs", "categorical", {k: Sequences(x, np.array([len(x)])) for k, x in parts.items()}
    )


def test_symbols_are_those_of_all_splits_and_their_frequencies_those_of_training() -> None:
    info = splits().info
    assert info.symbols == SYMBOLS
    assert info.frequencies == pytest.approx((1 / 4, 2 / 4, 0, 1 / 4, 2 / 3, 1 / 3))
    assert DataInfo.from_dict(json.loads(json.dumps(asdict(info)))) == info


def test_batches_have_no_symbol_where_one_is_missing() -> None:
    batch = splits().train.batch([0])
    assert batch.x[0].tolist() == [[1, 5], [2, 5], [2, -1], [6, 9]]
    assert batch.seen[0, :, 1].tolist() == [True, True, False, True]


def test_other_data_takes_the_symbols_of_the_fit_and_new_ones_are_refused() -> None:
    info, few = splits().info, Sequences(np.array([[2.0, 9.0]], np.float32), np.array([1]))
    other = Splits.of("few", "categorical", dict.fromkeys(("train", "valid", "test"), few))
    assert other.info.symbols == ((2,), (9,))
    known = EvaluationData.of_splits(other, info).info
    assert (known.symbols, known.frequencies) == (info.symbols, info.frequencies)
    with pytest.raises(DataError, match=r"frame 0 of 'train' has the symbol 1 in feature 0.*2\)"):
        EvaluationData.of_splits(splits(), other.info)


def test_a_written_file_is_read_as_the_same(tmp_path) -> None:
    rolls = {"train": 1.0, "valid": 6.0, "test": 2.0}
    whole = {k: Sequences(np.array([[x]]), np.array([1])) for k, x in rolls.items()}
    write(tmp_path / "dice.npz", Splits.of("dice", "categorical", whole))
    found = read(tmp_path / "dice.npz")
    assert (found.info.kind, found.info.symbols) == ("categorical", ((1, 2, 6),))
    assert "--set data.kind=count" in found.notes[0]
    assert read(tmp_path / "dice.npz", kind="count").notes == ()
    write(tmp_path / "gaps.npz", splits())
    with_gaps = read(tmp_path / "gaps.npz", kind="categorical")
    assert with_gaps.info.symbols == SYMBOLS


@pytest.mark.parametrize("wrong", [-1.0, 0.5, 2.0**24 + 2])
def test_what_is_no_symbol_is_refused(wrong: float, save_data) -> None:
    path = save_data(train=np.array([[1.0], [wrong], [3.0], [4.0]]))
    with pytest.raises(
        DataError, match=r"'categorical' was requested.*whole number from zero to 167"
    ):
        read(path, kind="categorical")
