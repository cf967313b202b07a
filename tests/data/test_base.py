import json

import numpy as np
import pytest
import torch

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.errors import UsageError

LENGTHS = np.array([2, 3, 1])


@pytest.fixture
def split():
    return Sequences(np.arange(12, dtype=np.float32).reshape(6, 2), LENGTHS)


def test_batch_pads_with_zeros_and_keeps_the_order_of_rows(split):
    batch = split.batch([2, 1])
    expected = [[[10, 11], [0, 0], [0, 0]], [[4, 5], [6, 7], [8, 9]]]
    assert batch.x.tolist() == expected
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.index.tolist() == [2, 1]
    assert batch.num_frames == 4


def test_batch_has_the_default_dtype_whatever_is_stored():
    split = Sequences(np.ones((3, 2), np.uint8), np.array([3]))
    assert split.x.dtype == torch.uint8
    assert split.batch([0]).x.dtype == torch.get_default_dtype()


def test_batch_leaves_the_stored_frames_alone(split):
    before = split.x.clone()
    split.batch([0, 1, 2]).x.add_(1)
    assert torch.equal(split.x, before)


def test_select_gives_the_same_sequences(split):
    part = split.select([2, 0])
    assert part.lengths.tolist() == [1, 2]
    assert torch.equal(part.sequence(1), split.sequence(0))


def test_facts_are_measured_on_train_and_survive_json(split):
    longer = Sequences(np.zeros((9, 2), np.float32), np.array([9]))
    parts = {"train": split, "valid": split, "test": longer}
    info = Splits.of("toy", "real", parts, image_shape=(1, 2)).info
    assert info.mean == (5.0, 6.0)
    assert (info.mean_length, info.max_length, info.dim) == (2.0, 9, 2)
    assert DataInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_unknown_split_is_named(split):
    splits = Splits.of("toy", "real", dict.fromkeys(("train", "valid", "test"), split))
    assert splits["valid"] is split
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        splits["tset"]
