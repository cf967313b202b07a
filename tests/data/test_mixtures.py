"""The mixture of five normal distributions: where its rows are, and from which streams."""

import numpy as np
import pytest
import torch

from oracles import assert_mean
from pyrodgm import data
from pyrodgm.data.mixtures import DEVIATION, FIVE, draw, shares
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator

NEAR = 1 - np.exp(-(3**2) / 2)  # within three standard deviations, in the plane


def test_modes_are_equally_likely_and_their_rows_are_normal():
    x = draw(100_000, numpy_generator(0, "test")).astype(np.float64)
    centres = np.array(FIVE)
    nearest = np.linalg.norm(x[:, None] - centres, axis=-1).argmin(1)
    assert_mean(torch.tensor(np.eye(5)[nearest]), torch.full((5,), 0.2, dtype=torch.float64))
    off = torch.tensor((x - centres[nearest]) / DEVIATION)
    assert_mean(1 + off, torch.ones(2))
    assert_mean(off[:, [0, 0, 1]] * off[:, [0, 1, 1]], torch.tensor([1.0, 0.0, 1.0]))
    assert shares(x) == pytest.approx(np.full(5, NEAR / 5), abs=0.02)


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
