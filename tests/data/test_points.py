"""The four points: every row as often as every other, in all splits."""

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.errors import UsageError


def test_every_split_holds_the_four_rows_equally_often():
    splits = data.load("avb-points", copies=3)
    assert (splits.info.kind, splits.info.dim, splits.info.image_shape) == ("binary", 4, (2, 2))
    assert splits.info.mean == (0.25,) * 4
    for _, part in splits.items():
        rows, counts = np.unique(part.x.numpy(), axis=0, return_counts=True)
        assert np.array_equal(rows, np.eye(4)[::-1])
        assert counts.tolist() == [3, 3, 3, 3]
    assert len(data.load("avb-points").train) == 512


def test_no_copies_are_refused():
    with pytest.raises(UsageError, match="avb-points: 0 copies of every row; give at least 1"):
        data.load("avb-points", copies=0)
