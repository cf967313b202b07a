"""Prediction and sampling of temporal machines against the enumeration of short sequences."""

import numpy as np
import pytest
import torch
from models.test_rbm import number, states
from models.test_temporal import D, all_sequences, joint, machine, recurrent_log_p

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.prediction.forecast import forecast
from pyrodgm.evaluate.prediction.frame_chains import (
    drawn_sequences,
    expected_given_past,
    frames_ahead,
)
from pyrodgm.evaluate.prediction.one_step import predict
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import NoGuide
from pyrodgm.models import RTRBM, TRBM


@torch.no_grad()
def test_sequences_are_drawn_from_the_model():
    model = machine()
    exact = torch.stack([recurrent_log_p(model, x).sum() for x in all_sequences(2)]).exp()
    drawn = drawn_sequences(model, 20_000, 2)
    which = number(drawn[:, 0]) * 2**D + number(drawn[:, 1])
    assert_mean(torch.nn.functional.one_hot(which, 4**D).double(), exact, power=0.3)


@torch.no_grad()
def test_the_expectation_of_a_frame_is_that_of_enumeration():
    """Of every frame given those of the data before it; in padding it is zero."""
    model, x = machine(), all_sequences(3)[[77]]
    mask = torch.tensor([[True, True, False]])
    batch = Batch(x * mask[..., None], mask, torch.arange(1))
    found = torch.stack([expected_given_past(model, batch, 200)[0] for _ in range(40)])
    past = model.states(batch)[0, 0]
    exact = [joint(model, state).logsumexp(1).exp() @ states(D) for state in past[:2]]
    assert_mean(found[:, :2].flatten(1), torch.cat(exact))
    assert (found[:, 2] == 0).all()


@torch.no_grad()
def test_frames_ahead_continue_each_sequence_from_its_own_end():
    model, x = machine(TRBM), all_sequences(3)[[77, 300]]
    mask = torch.tensor([[True, True, True], [True, False, False]])
    batch = Batch(x * mask[..., None], mask, torch.arange(2))
    _, drawn = next(frames_ahead(model, batch, 20_000))
    of_first = joint(model, model.start)[number(x[1, 0])].softmax(0)  # of the hidden units
    exact = sum(
        p * joint(model, h).logsumexp(1).exp() @ states(D)
        for p, h in zip(of_first, states(2), strict=True)
    )
    assert_mean(drawn[:, 1], exact)


DATA = Sequences(all_sequences(3)[::60].flatten(0, 1).float().numpy(), np.array([3, 8, 7, 9]))


@pytest.mark.parametrize("kind", [RTRBM, TRBM])
def test_predictions_forecasts_and_samples_of_a_temporal_machine(kind):
    model = machine(kind).float()
    pair = model, NoGuide(model)
    found = predict(*pair, DATA, kind="binary", samples=3)
    assert found.nats is None
    assert 0 < found.squared_error < D
    ahead = forecast(*pair, DATA, horizon=2, samples=5)
    assert ahead.mean.shape == (4, 2, D)
    assert sample(*pair, model.info, None, num=2, length=4)["x"].shape == (2, 4, D)
    longer = sample(*pair, model.info, DATA, num=2, length=5, prefix=3)["x"]
    assert longer.shape == (2, 5, D)
    with pytest.raises(UsageError, match="give at least 1"):
        predict(*pair, DATA, kind="binary", samples=0)
