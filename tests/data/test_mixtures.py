"""Mixtures of normal distributions: where their rows are, and from which streams."""

import json

import numpy as np
import pytest
import torch

from oracles import assert_mean
from pyrodgm import data
from pyrodgm.data.mixtures import GMM5, GMM32
from pyrodgm.errors import DataError, UsageError
from pyrodgm.seeds import numpy_generator


@pytest.mark.parametrize("mixture", [GMM5, GMM32])
def test_modes_are_equally_likely_and_their_rows_are_normal(mixture):
    x = mixture.draw(100_000, numpy_generator(0, "test")).astype(np.float64)
    centres = np.array(mixture.centres)
    nearest = np.linalg.norm(x[:, None] - centres, axis=-1).argmin(1)
    each = torch.full((len(centres),), 1 / len(centres), dtype=torch.float64)
    assert_mean(torch.tensor(np.eye(len(centres))[nearest]), each)
    off = torch.tensor((x - centres[nearest]) / mixture.deviation)
    assert_mean(1 + off, torch.ones(2))
    assert_mean(off[:, [0, 0, 1]] * off[:, [0, 1, 1]], torch.tensor([1.0, 0.0, 1.0]))


def test_the_modes_of_four_rings_are_facts_of_the_data():
    info = data.load("gmm32").info
    radii = np.linalg.norm(info.modes, axis=1)
    assert np.bincount(radii.round().astype(int)).tolist() == [0, 0, 8, 8, 8, 8]
    assert radii == pytest.approx(radii.round())
    assert info.mode_std == 0.1
    assert type(info).from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_a_file_may_say_where_the_modes_are(save_data):
    rows = {"train": np.arange(8.0)[:, None], "modes": np.array([[1], [3]]), "mode_std": 0.5}
    info = data.load(save_data(**rows)).info
    assert (info.modes, info.mode_std) == (((1.0,), (3.0,)), 0.5)
    for wrong, words in (
        ({"mode_std": -1.0}, "'mode_std' has shape"),
        ({"modes": np.ones((2, 3))}, r"'modes' has shape \(2, 3\)"),
        ({"modes": np.full((2, 1), np.nan)}, "finite numbers"),
    ):
        with pytest.raises(DataError, match=words):
            data.load(save_data(**(rows | wrong)))
    del rows["modes"]
    with pytest.raises(DataError, match="belong together"):
        data.load(save_data(**rows))


def test_rows_come_by_name_and_each_split_has_a_stream_of_its_own():
    splits = data.load("gmm5", num_train=30, num_valid=4, num_test=5)
    assert (splits.info.kind, splits.info.dim, splits.info.max_length) == ("real", 2, 1)
    assert [len(part) for _, part in splits.items()] == [30, 4, 5]
    other = data.load("gmm5", num_train=7, num_valid=4, num_test=5)
    assert np.array_equal(splits.test.x, other.test.x)
    assert not np.array_equal(splits.valid.x, splits.test.x[:4])
    reseeded = data.load("gmm5", num_train=7, num_valid=4, num_test=5, seed=1)
    assert not np.array_equal(reseeded.test.x, other.test.x)
    usual = data.load("gmm5")
    assert [len(part) for _, part in usual.items()] == [2048, 1024, 1024]


def test_a_split_without_rows_is_refused():
    with pytest.raises(UsageError, match="gmm5: every split needs at least one row"):
        data.load("gmm5", num_valid=0)
