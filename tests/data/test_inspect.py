import json
import math
import shlex

import numpy as np
import pytest

from pyrodgm.data.inspect import inspect, render
from pyrodgm.errors import UsageError


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "my data.npz"
        np.savez(path, **arrays)
        return path

    return write


def test_facts_of_a_file(save):
    x = np.array([[0.0, 1.0], [0.5, 1.0], [0.25, 1.0]])
    path = save(train=x, train_lengths=[1, 2], test=x[:2], test_lengths=[1, 1], extra=x)
    report = inspect(path)
    assert json.loads(json.dumps(report)) == report
    train = report["splits"]["train"]
    assert (train["shape"], train["dtype"], train["range"]) == ([3, 2], "float64", [0, 1])
    assert train["missing"] == 0
    lengths = train["lengths"]
    assert (lengths["sequences"], lengths["min"], lengths["median"], lengths["max"]) == (
        2,
        1,
        1.5,
        2,
    )
    assert lengths["padding_to_longest"] == 0.25
    assert report["kind"] == "unit"
    assert report["duplicates"] == {"test in train": 1}
    assert report["refused"] is None
    assert report["fit"] == f"pyrodgm fit --model tsbn --data '{path}'"
    text = render(report)
    for part in ("duplicates: 1", "ignored arrays: extra", "1 of 2 features never", report["fit"]):
        assert part in text


def test_missing_values_are_counted(save):
    x = np.array([[0.0, 2.5], [np.nan, 2.5], [1.0, np.nan], [1.0, 2.5]])
    report = inspect(save(train=x, train_lengths=[2, 2], test=x[:1], test_lengths=[1]))
    train, test = report["splits"]["train"], report["splits"]["test"]
    assert (train["missing"], train["missing_share"], train["range"]) == (2, 0.25, [0, 2.5])
    assert (test["missing"], test["missing_share"]) == (0, 0)
    text = render(report)
    assert "2 missing (25.0%)" in text
    assert "0 missing" not in text
    assert "2 of 2 features never change in train: 0, 1" in text  # one of its sequences is held out
    assert report["fit"]


def test_infinite_values_are_left_out_where_load_refuses(save):
    x = np.ones((4, 2))
    x[1, 0], x[2, 1] = np.nan, np.inf
    report = inspect(save(train=x, train_lengths=[2, 2]))
    assert report["splits"]["train"]["missing"] == 1
    assert report["splits"]["train"]["range"] == [1, 1]
    assert report["fit"] is None
    assert "first in sequence 1, frame 0, feature 1" in report["refused"]
    assert "refused: 'train' has infinite values" in render(report)


def test_held_out_counts_are_shown_and_tell_sequences_apart(save):
    x = np.array([[0, 2], [1, 0], [3, 1], [0, 1]])
    arrays = {"train": x, "valid": x, "test": x}
    lengths = {f"{split}_lengths": [1, 3] for split in arrays}
    report = inspect(save(**arrays, **lengths, test_held_out=x + 1))
    assert report["splits"]["test"]["held_out"] == 16
    assert "held_out" not in report["splits"]["train"]
    assert ", 16 held out" in render(report)
    assert report["duplicates"] == {"valid in train": 2, "test in train": 0, "test in valid": 0}


@pytest.mark.parametrize(
    "arrays",
    [
        {"train": np.array([["a"]])},
        {"train": np.ones((2, 3, 4))},
        {"train": np.ones((3, 2)), "train_lengths": [2, 2]},
        {"train": np.ones((3, 2)), "train_lengths": [0, 3]},
        {"train": np.ones((3, 2)), "train_lengths": [[1.5]]},
        {"train": np.ones((0, 2))},
        {"train": np.array(1.0)},
        {"train": np.full((2, 2), np.nan)},
        {"other": np.ones(2)},
        {"train": np.array([None])},
    ],
)
def test_whatever_load_refuses_can_be_inspected(save, arrays):
    report = inspect(save(**arrays))
    assert report["refused"]
    assert report["refused"] in render(report)


def test_files_that_are_no_npz_can_be_inspected(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    assert "is a text file" in inspect(tmp_path / "a.csv")["refused"]
    assert "no file" in render(inspect(tmp_path / "absent.npz"))


def test_unknown_names_are_usage_errors():
    with pytest.raises(UsageError, match=r"unknown dataset 'qqq'; known: .*\. Or give"):
        inspect("qqq")


def test_named_datasets_can_be_inspected(monkeypatch):
    report = inspect("balls")
    assert report["kind"] == "unit"
    assert report["splits"]["train"]["lengths"]["padding_in_batches"] == 0
    assert report["fit"] == "pyrodgm fit --model tsbn --data balls"


def test_nottingham_repeats_a_tune(real_data):
    report = inspect(real_data("polyphonic/nottingham.npz"))
    assert report["duplicates"]["valid in train"] == 1
    assert report["duplicates"]["test in train"] == 1
    assert report["splits"]["train"]["lengths"]["max"] == 1788


RNG = np.random.default_rng(0)


def gaps(x):
    return np.where(RNG.random(x.shape) < 0.2, np.nan, x)


@pytest.mark.parametrize(
    ("values", "lengths", "kind", "model"),
    [
        (RNG.normal(size=(20, 2)), [5] * 4, "real", "tsbn"),
        (RNG.poisson(3.0, (20, 2)), [5] * 4, "count", "hmsbn"),
        (RNG.poisson(3.0, (20, 2)), [1] * 20, "count", "sbn"),
        (RNG.normal(size=(20, 2)), [1] * 20, "real", "vae"),
        (RNG.random((20, 2)) < 0.5, [5] * 4, "binary", "tsbn"),
        (gaps(RNG.normal(size=(20, 2))), [5] * 4, "real", "tsbn"),
        (gaps(RNG.random((20, 2))), [5] * 4, "unit", "tsbn"),
        (gaps(RNG.poisson(3.0, (20, 2))), [5] * 4, "count", "hmsbn"),
        (gaps(RNG.random((20, 2)) < 0.5), [5] * 4, "binary", "tsbn"),
    ],
)
def test_the_line_that_fits_is_right(save, tmp_path, cli, values, lengths, kind, model):
    path = save(train=values, train_lengths=lengths)
    report = inspect(path)
    assert report["kind"] == kind
    assert report["fit"] == f"pyrodgm fit --model {model} --data '{path}'"
    line = shlex.split(report["fit"])[1:]
    small = ["--steps", "1", "--set", "model.hidden_dim=2", "--out", tmp_path / "run"]
    said = cli(*line, *small, "--json")
    assert said.code == 0
    result = json.loads(said.out)
    for bound in (result["test"], *result["floors"]["test"].values()):
        assert math.isfinite(bound["nats_per_frame"])
