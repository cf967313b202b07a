"""States of every sequence as a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.latents.states import States, states
from pyrodgm.models import HMM, TSBN
from tiny import ragged

ARRAYS = ragged()
PARTS = {
    split: Sequences(ARRAYS[split], ARRAYS[f"{split}_lengths"])
    for split in ("train", "valid", "test")
}
SPLITS = Splits.of("tiny", "binary", PARTS)
FOUND = States(
    most_likely=[np.array([0, 0, 1]), np.array([1, 0])],
    probabilities=[np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), np.array([[0.4, 0.6], [1, 0]])],
)


def test_summary_counts_frames_and_stays():
    """A stay ends with its sequence, though the next one begins in the same state."""
    zero, one = FOUND.summary()
    assert zero == {
        "state": 0,
        "share": 0.6,
        "probability": pytest.approx((0.9 + 0.8 + 0.3 + 0.4 + 1) / 5),
        "mean_length": 1.5,
    }
    assert one["share"] == 0.4
    assert one["mean_length"] == 1.0


def test_a_state_that_never_occurs_has_no_length():
    found = States([np.array([0])], [np.array([[1.0, 0.0]])])
    assert found.summary()[1]["mean_length"] is None


def test_table_has_a_row_for_every_frame():
    table = FOUND.to_frame()
    assert table.columns.tolist() == ["sequence", "frame", "state", "p0", "p1"]
    assert table["sequence"].tolist() == [0, 0, 0, 1, 1]
    assert table["frame"].tolist() == [0, 1, 2, 0, 1]
    assert table["state"].tolist() == [0, 0, 1, 1, 0]
    assert table["p1"].tolist() == [0.1, 0.2, 0.7, 0.6, 0]


def test_sequences_keep_their_order_and_length():
    torch.manual_seed(0)
    model = HMM(SPLITS.info, num_states=3)
    found = states(model, SPLITS.test)
    assert [len(path) for path in found.most_likely] == SPLITS.test.lengths.tolist()
    for row in range(len(SPLITS.test)):
        alone = model.most_likely_states(SPLITS.test.batch([row]))[0]
        assert found.most_likely[row].tolist() == alone.tolist()
        np.testing.assert_allclose(found.probabilities[row].sum(1), 1, rtol=1e-5)


def test_other_models_have_none():
    with pytest.raises(UsageError, match="use the model hmm"):
        states(TSBN(SPLITS.info), SPLITS.test)
