"""The size of a posterior determines how much of it is stored."""

import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.posterior import kept
from pyrodgm.evaluate.posterior.kept import (
    Kept,
    affordable,
    bytes_of,
    judged_rows,
    refuse_large,
    spread,
)
from pyrodgm.evaluate.work import Work
from pyrodgm.models import TSBN

DIM, HIDDEN = 6, 2
BITS = DIM + HIDDEN + 4  # bytes of one draw of a frame
FREE = Work(0, 0)


def splits(lengths, kind="binary"):
    lengths = np.array(lengths)
    x = np.random.default_rng(0).random((lengths.sum(), DIM), dtype=np.float32)
    part = Sequences((x < 0.5).astype(np.uint8) if kind == "binary" else x, lengths)
    return Splits.of("toy", kind, dict.fromkeys(("train", "valid", "test"), part))


def model(data):
    torch.manual_seed(0)
    return TSBN(data.info, hidden_dim=HIDDEN)


def test_draws_are_as_many_as_fit_and_padded_where_ten_do(monkeypatch):
    data = splits([5, 2, 3])
    assert affordable(model(data), data, "test", 100, FREE).draws == 100
    monkeypatch.setattr(kept, "CHECK_BYTES", 12 * 15 * BITS)
    found = affordable(model(data), data, "test", 100, FREE)
    assert (found.rows.tolist(), found.draws, found.flat) == ([0, 1, 2], 12, False)


def test_frames_lie_end_to_end_where_padding_does_not_fit(monkeypatch):
    data = splits([50, 2, 3])
    monkeypatch.setattr(kept, "CHECK_BYTES", 12 * 55 * BITS)
    found = affordable(model(data), data, "test", 100, FREE)
    assert (found.rows.tolist(), found.draws, found.flat) == ([0, 1, 2], 12, True)


@pytest.mark.parametrize("lengths", [[3] * 8, [3, 2] * 4])
def test_sequences_are_fewer_where_they_do_not_fit_either(monkeypatch, lengths):
    data = splits(lengths)
    monkeypatch.setattr(kept, "CHECK_BYTES", 10 * 13 * BITS)
    found = affordable(model(data), data, "test", 100, FREE)
    assert found.flat == (len(set(lengths)) > 1)
    assert 4 <= len(found.rows) < 8
    assert found.draws >= 10
    assert bytes_of(model(data), data, "test", found) <= kept.CHECK_BYTES


def test_draws_and_then_sequences_are_fewer_where_they_take_long(monkeypatch):
    data = splits([5] * 20)
    monkeypatch.setattr(kept, "WORK", 1000.0)
    for each, rows, draws in ((0.01, 20, 100), (0.2, 20, 50), (0.5, 13, 30), (50, 10, 30)):
        found = affordable(model(data), data, "test", 100, Work(0, each))
        assert (len(found.rows), found.draws) == (rows, draws)
    assert affordable(model(data), data, "test", 100, Work(5, 0.05)).draws == 100


def test_numbers_that_are_no_bits_take_four_bytes():
    data = splits([5, 5], "real")
    everything = Kept(np.arange(2), 3, flat=False)
    assert bytes_of(model(data), data, "test", everything) == 3 * 10 * (8 * DIM + HIDDEN + 4)


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch):
    data = splits([50, 2, 3])
    rows = np.arange(3)
    monkeypatch.setattr(kept, "MAX_BYTES", 4 * 150 * BITS - 1)
    with pytest.raises(UsageError, match="give flat=True, which needs no padding, or a split"):
        refuse_large(model(data), data, "test", Kept(rows, 1, flat=False))
    with pytest.raises(UsageError, match="give at most 10 draws, or a split with fewer"):
        refuse_large(model(data), data, "test", Kept(rows, 11, flat=True))
    refuse_large(model(data), data, "test", Kept(rows, 10, flat=True))
    with pytest.raises(UsageError, match="posterior_draws is 0"):
        affordable(model(data), data, "test", 0, FREE)


def test_rows_are_spread_and_counted_by_their_frames():
    assert spread(np.array([5] * 10), 50).tolist() == list(range(10))
    assert spread(np.array([5] * 10), 25).tolist() == [0, 2, 4, 6, 8]
    assert spread(np.array([1000, 1, 1, 1]), 3).tolist() == [0]
    assert judged_rows(np.array([7] * 3000), 1.0).tolist() == list(range(3000))
    assert len(judged_rows(np.array([7] * 3000), kept.WORK)) == 10
    assert judged_rows(np.array([7] * 4), 1.0, wanted=2).tolist() == [0, 2]
