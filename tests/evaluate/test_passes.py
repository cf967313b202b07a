"""Portions of passes are bounded by the memory they need."""

import numpy as np
import pytest

from pyrodgm.evaluate import passes as module
from pyrodgm.evaluate.passes import chunks

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
