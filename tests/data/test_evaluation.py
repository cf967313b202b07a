"""Data that a fitted model is asked about: any one array is all of it, and none is cut."""

import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.evaluation import given_data
from pyrodgm.data.evaluation_files import read_evaluation
from pyrodgm.errors import DataError, UsageError

X = np.arange(10.0).reshape(5, 2) + 0.5


def facts(x=X, lengths=(2, 3), kind="real"):
    parts = dict.fromkeys(("train", "valid", "test"), Sequences(x, np.array(lengths)))
    return Splits.of("fitted", kind, parts).info


INFO = facts()
PADDED = np.zeros((2, 3, 2))
PADDED[0, :2], PADDED[1] = X[:2], X[2:]
FILES = {
    "one array is one sequence": ({"x": X}, "x", [5]),
    "with lengths of its own": ({"x": X, "x_lengths": [2, 3]}, "x", [2, 3]),
    "with lengths": ({"x": X, "lengths": [2, 3]}, "x", [2, 3]),
    "a split without the others": ({"test": X, "test_lengths": [2, 3]}, "test", [2, 3]),
    "all of train": ({"train": X, "train_lengths": [1] * 5}, "train", [1] * 5),
    "lengths of the only split": ({"valid": X, "lengths": [4, 1]}, "valid", [4, 1]),
    "sequences of one length": ({"x": X[:4].reshape(2, 2, 2)}, "x", [2, 2]),
    "padded": ({"x": PADDED, "lengths": [2, 3]}, "x", [2, 3]),
    "beside what is known of frames": ({"x": X, "frame_rate": 5.0}, "x", [5]),
}


@pytest.mark.parametrize("case", FILES)
def test_any_one_array_is_all_of_a_file(save_data, case):
    arrays, name, lengths = FILES[case]
    found = read_evaluation(save_data("new.npz", **arrays), INFO)
    assert list(found.parts) == [name]
    assert found[name].lengths.tolist() == lengths
    np.testing.assert_array_equal(found[name].x.numpy(), X[: sum(lengths)])
    assert (found.info.name, found.info.mean) == ("new", INFO.mean)


def test_an_npy_file_is_one_array(tmp_path):
    np.save(tmp_path / "walk.npy", X)
    found = read_evaluation(tmp_path / "walk.npy", INFO)
    assert found["walk"].lengths.tolist() == [5]
    np.save(tmp_path / "objects.npy", np.array([X, X[:2]], dtype=object))
    with pytest.raises(DataError, match="plain numbers"):
        read_evaluation(tmp_path / "objects.npy", INFO)


def test_splits_keep_their_names_and_none_is_drawn(save_data):
    found = read_evaluation(save_data(train=X, test=X[:2]), INFO)
    assert {name: part.num_frames for name, part in found.items()} == {"train": 5, "test": 2}
    with pytest.raises(UsageError, match="'tiny' has no 'valid'; known: test, train"):
        found["valid"]


def test_rows_stay_rows(save_data):
    rows = facts(lengths=[1] * 5)
    found = read_evaluation(save_data(x=X), rows)
    assert found["x"].lengths.tolist() == [1] * 5
    assert found.notes == ("no lengths of x: its frames are read as independent rows",)
    assert given_data(X, rows)["given"].lengths.tolist() == [1] * 5


def test_gaps_hold_the_means_that_were_fitted_with():
    x = np.where(X > 8, np.nan, X)
    part = given_data(x, INFO)["given"]
    filled = part.uncentred(part.batch([0]).x)[0, 4]
    np.testing.assert_allclose(filled, INFO.mean, rtol=1e-6)


REFUSED = {
    "several arrays": ({"x": X, "y": X}, "several arrays: x, y; keep one"),
    "nothing": ({"frame_rate": 5.0}, "no array of frames"),
    "misspelt lengths": ({"x": X, "x_lenghts": [2, 3]}, "did you mean 'x_lengths'"),
    "lengths of one of two": ({"train": X, "test": X, "lengths": [5]}, "mean 'train_lengths'"),
    "a misspelt split": ({"test": X, "trian": X}, "did you mean 'train'"),
    "other features": ({"x": X[:, :1]}, r"fitted on 'fitted' with 2 features .*'new' has 1"),
    "lengths that do not add up": ({"x": X, "lengths": [2, 2]}, "adds up to 4 frames"),
    "lengths beyond the padding": ({"x": PADDED, "lengths": [2, 4]}, "whole numbers up to 3"),
    "words": ({"x": X.astype(str)}, "'x' holds <U"),
    "infinity": ({"x": X * np.inf}, "infinite values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(save_data, case):
    arrays, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        read_evaluation(save_data("new.npz", **arrays), INFO)


def test_every_array_is_used_or_named(save_data):
    found = read_evaluation(save_data(test=X, test_lengths=[2, 3], labels=X), INFO)
    assert found.notes == ("ignored arrays: labels",)


@pytest.mark.parametrize(
    ("x", "lengths"),
    [
        (X, [5]),
        (torch.tensor(X), [5]),
        (X.tolist(), [5]),
        ([X[:2], X[2:]], [2, 3]),
        ((torch.tensor(X[:2]), X[2:]), [2, 3]),
        (X[:4].reshape(2, 2, 2), [2, 2]),
        (Sequences(X, np.array([4, 1])), [4, 1]),
    ],
)
def test_arrays_of_python_are_sequences(x, lengths):
    part = given_data(x, INFO)["given"]
    assert part.lengths.tolist() == lengths
    np.testing.assert_array_equal(part.x.numpy(), X[: sum(lengths)])


@pytest.mark.parametrize("x", [[X, X[:, :1]], "walk", X[:, 0], [], [np.ones((0, 2))], {"x": X}])
def test_other_things_of_python_are_refused_in_words(x):
    with pytest.raises(DataError):
        given_data(x, INFO)


def test_a_column_may_lack_its_second_dimension():
    info = facts(X[:, :1])
    assert given_data(X[:, 0], info)["given"].x.shape == (5, 1)
    assert given_data([X[:2, 0], X[2:, 0]], info)["given"].lengths.tolist() == [2, 3]


def test_values_are_taken_for_the_kind_that_was_fitted():
    bits = facts(np.eye(5, 2, dtype=np.uint8), kind="binary")
    assert given_data(np.eye(3, 2), bits)["given"].x.dtype == torch.uint8
    grey = given_data(np.full((3, 2), 0.3), bits)
    assert (grey.info.kind, bits.kind) == ("unit", "binary")
    with pytest.raises(DataError, match=r"fitted on binary data.*every value must be 0 or 1"):
        given_data(X, bits)
    assert given_data(np.eye(3, 2), INFO).info.kind == "real"
