"""Every cell of the grid trains: a few steps on toy data, without warning, give a better score.

`make slow` runs it; it takes two minutes.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_grid import FITTING, build, info_of

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import FitOptions, Training

pytestmark = pytest.mark.slow

# Neither the estimate of a critic nor the likelihood improves at every step of a game.
GAMES = {"aae", "ali", "alice", "avb", "avrnn", "f-gan", "gan", "svae", "wgan"}

# The guide of wake-sleep follows draws of the model, and the bound falls until it is as wide.
STEPS = {"wake-sleep": 60}


def toy(info: DataInfo) -> Splits:
    """40 sequences of one pattern, where a twentieth of the bits is flipped."""
    lengths = np.array([5, 3, 4, 1] * 10)
    flips = np.random.default_rng(0).random((lengths.sum(), 4)) < 0.05
    rows = np.abs(np.array([1, 0, 1, 0]) - flips).astype(np.uint8)
    split = Sequences(rows if info.kind == "binary" else rows.astype(np.float32), lengths)
    return Splits(info, split, split, split)


@pytest.mark.parametrize("triple", FITTING, ids="-".join)
def test_some_steps_improve_the_score(triple: tuple[str, str, str]) -> None:
    """The validation score, or the reported bound where there is no such score."""
    torch.manual_seed(0)
    splits = toy(info_of(triple))
    options = FitOptions(steps=STEPS.get(triple[2], 20), batch_size=10, lr=0.02)
    training = Training(build(triple), splits, options, launch(options))
    before = training.validate().score
    reported = [float(each.report[each.headline]) for each in training.steps()]
    after = training.validate().score
    assert np.isfinite(reported).all()
    if triple[2] in GAMES:
        return
    if before is not None and after is not None:
        assert after > before
    else:
        assert reported[-1] > reported[0]
