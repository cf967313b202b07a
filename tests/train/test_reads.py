"""No step of training reads a number from its device, for which the host would wait."""

import numpy as np
import pytest
import torch
from reads import NoReads, NumberRead
from test_grid import FORMS, TRIPLES, D, build, info_of

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine import smc
from pyrodgm.objectives.state import RowCache
from pyrodgm.setup.options import FitOptions
from pyrodgm.train import finite
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training

# They read numbers in every step, by which they choose a shorter computation.
MODELS_THAT_READ = {
    "lds": "whether its covariances have converged",
    "nade": "the share of ones",
    "rnn-nade": "the share of ones",
}
# Flow compares values with its last draws, and Pyro inverts its maps index by index; the others
# read the share of ones.
GUIDES_THAT_READ = {"flow", "nade", "rnn-nade"}
# Pyro's own estimators check what they compute, and copy numbers to the device.
OBJECTIVES_THAT_READ = {"trace-elbo", "tracegraph-elbo"}
SILENT = [
    (model, guide, objective)
    for model, guide, objective in TRIPLES
    if model not in MODELS_THAT_READ
    and guide not in GUIDES_THAT_READ
    and objective not in OBJECTIVES_THAT_READ
]


def training(triple, **options):
    sequential = FORMS[triple[0]][1].traits.sequential
    lengths = np.array([5, 3, 1]) if sequential else np.ones(9, np.int64)
    split = Sequences(np.eye(D, dtype=np.uint8)[np.arange(9) % D], lengths)
    splits = Splits(info_of(triple), split, split, split)
    chosen = FitOptions(steps=3, batch_size=3, device="cpu", clip_norm=5.0, **options)
    return Training(build(triple), splits, chosen, launch(chosen), deferred=True)


@pytest.mark.parametrize("triple", SILENT, ids="-".join)
def test_no_step_reads_a_number(triple, monkeypatch):
    made = training(triple, per_frame=True)
    made.objective.train()
    made._step()  # states of optimisers start
    made.settle()
    batch = made._next_batch()  # on the host
    monkeypatch.setattr(made, "_next_batch", lambda: batch)
    # Read on the host: the flag of the turn before, and on the CPU alone, rows and effective sizes.
    monkeypatch.setattr(finite._Flag, "read", lambda flag: False)
    monkeypatch.setattr(RowCache, "_check_rows", lambda cache, batch: None)
    monkeypatch.setattr(smc, "none_set", lambda flags: False)
    with NoReads():
        made._step()
        made._step()


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: x[torch.ones((), dtype=torch.int64)],
        lambda x: x.repeat_interleave(torch.arange(3)),
        lambda x: x.unique(),
        lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
    ],
)
def test_what_reads_a_number_is_found(read):
    x, _ = torch.ones(3), torch.arange(3)
    with NoReads(), pytest.raises(NumberRead):
        read(x)
