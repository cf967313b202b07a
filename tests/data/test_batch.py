"""Copies and parts of a batch: every part follows, what lies before the frames too."""

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.carried import Before

LENGTHS = np.array([3, 1])


def ragged(before):
    mask = torch.arange(3) < torch.as_tensor(LENGTHS)[:, None]
    x, conditions = torch.rand(2, 3, 4), torch.rand(2, 3, 1)
    return Batch(x, mask, torch.tensor([5, 7]), x > 0.5, conditions, LENGTHS, before)


def test_copies_without_the_first_are_one_copy_less():
    states = {"h": torch.rand(2, 4)}
    for before in (Before(), Before(2, {"z": torch.rand(2, 1, 3)}, states)):
        batch = ragged(before)
        rest, known = batch.repeated(3).without(batch.size), batch.repeated(2)
        for name in ("x", "mask", "index", "seen", "conditions"):
            assert torch.equal(getattr(rest, name), getattr(known, name)), name
        np.testing.assert_array_equal(rest.host_lengths, known.host_lengths)
        assert rest.before.frames == known.before.frames
        for name, value in known.before.windows.items():
            assert torch.equal(rest.before.windows[name], value)
        for name, value in known.before.states.items():
            assert torch.equal(rest.before.states[name], value)
