"""Portions of passes are bounded by the memory they need."""

import numpy as np
import pytest

from pyrodgm.data.base import Sequences
from pyrodgm.evaluate import passes as module
from pyrodgm.evaluate.passes import chunks, portions

LENGTHS = np.array([*[7] * 30, 900, 20_000])


@pytest.mark.parametrize("width", [1, 100, 10_000])
@pytest.mark.parametrize("draws", [1, 20])
def test_chunks_are_bounded_and_hold_every_draw_once(width, draws):
    times = np.zeros((draws, len(LENGTHS)), int)
    for rows, part in chunks(LENGTHS, draws, width=width):
        times[part, rows] += 1
        paths = len(range(*part.indices(draws)))
        numbers = width * paths * len(rows) * int(LENGTHS[rows].max())
        assert numbers <= module.NUMBERS_AT_ONCE or (len(rows) == 1 and paths == 1)
    assert (times == 1).all()


def test_long_sequences_are_drawn_several_at_a_time():
    """A loop over 20,000 frames for each of a thousand draws would take an hour."""
    parts = [part for rows, part in chunks(LENGTHS, 16, width=20) if rows.tolist() == [31]]
    assert [part.stop - part.start for part in parts] == [8, 8]


def test_the_share_that_is_done_is_told():
    told = []
    for _ in chunks(LENGTHS, 20, progress=told.append):
        pass
    assert told == sorted(told)
    assert told[-1] == 1


def test_particle_filters_run_over_sequences_of_similar_length():
    lengths = np.array([9, 400, 12, 350, 10] + [11] * 200)
    x = np.zeros((lengths.sum(), 1), np.float32)
    found = list(portions(Sequences(x, lengths), 16))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    assert [lengths[rows].max() for rows in found] == [12, 400]
    two = Sequences(x[:409], lengths[:2])  # a second loop would cost more than the padding
    assert [rows.tolist() for rows in portions(two, 1)] == [[0, 1]]
