"""Ancestral draws against the exact probabilities of all outputs, where models carry states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from oracles import all_paths, assert_mean
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.programs import generate
from pyrodgm.models import DTSBND, DTSBNS, HMM, RNN, RNNNADE, StepModel
from variants import output_log_probs, randomised

NUM = 200_000
BIT = DataInfo("tiny", "binary", 1, (0.5,), 3.0, 3)
BITS = DataInfo("tiny", "binary", 2, (0.5, 0.3), 2.0, 2)
TOKEN = DataInfo("tiny", "count", 3, (0.5, 0.3, 0.2), 2.0, 2)  # one a frame

MODELS: dict[str, Callable[[], StepModel]] = {
    "dtsbn-d": lambda: DTSBND(BIT, hidden_dim=1, layer_dim=2),
    "dtsbn-d order 2": lambda: DTSBND(BIT, hidden_dim=1, layer_dim=2, history=2),
    "dtsbn-d nade": lambda: DTSBND(BITS, hidden_dim=1, layer_dim=2, emission="nade", nade_dim=2),
    "dtsbn-d tokens": lambda: DTSBND(TOKEN, hidden_dim=1, layer_dim=2),
    "dtsbn-s": lambda: DTSBNS(BIT, hidden_dim=(1, 1)),
    "gru": lambda: RNN(BIT, hidden_dim=2),
    "lstm": lambda: RNN(BIT, hidden_dim=2, cell="lstm"),
    "relu": lambda: RNN(BIT, hidden_dim=2, cell="relu"),
    "rnn-nade": lambda: RNNNADE(BITS, hidden_dim=2, nade_dim=2),
    "hmm": lambda: HMM(BITS, num_states=3),
    "hmm tokens": lambda: HMM(TOKEN, num_states=3),
}


def outputs(dim: int) -> Tensor:
    """All sequences of three bits, of two pairs of bits, or of two tokens of three kinds."""
    if dim < 3:
        return all_paths(4 - dim, dim)
    kinds = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    return torch.nn.functional.one_hot(kinds, 3).double()


@pytest.mark.parametrize("name", MODELS)
def test_generation_follows_the_model(name: str) -> None:
    model = randomised(MODELS[name](), std=0.7)
    values = outputs(model.observed["x"])
    draws = generate(model, NUM, values.shape[1], like=torch.zeros(()).double())["x"]
    exact = output_log_probs(model, values).exp().detach()
    assert float(exact.sum()) == pytest.approx(1)
    equal = (draws[:, None] == values).flatten(2).all(-1)
    assert equal.any(1).all()
    assert_mean(equal.double(), exact)
