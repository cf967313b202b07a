"""The weight decay in epochs."""

import math

import pytest
import torch

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.setup.config import resolve
from pyrodgm.setup.decay import with_decay
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training


@pytest.fixture(scope="module")
def splits():
    part = Sequences(torch.zeros(480, 3), [12] * 40)
    return Splits.of("zeros", "binary", {"train": part, "valid": part, "test": part})


@pytest.mark.parametrize("chunk", ["whole", 4])
def test_weights_without_a_gradient_shrink_by_a_factor_e_in_these_epochs(splits, chunk):
    options = FitOptions(
        lr=0.01, decay_epochs=5.0, batch_size=4, chunk=chunk, device="cpu", averaging=0.0
    )
    model = dgm.models.TSBN(splits.info, hidden_dim=2)
    objective = dgm.objectives.RWS(model, dgm.guides.RecurrentBernoulli(model))
    made = Training(objective, splits, with_decay(options, splits.training), launch(options))
    before = made.objective.model.x_from_x.weight.clone()  # no frame has a note
    epochs, steps = 5, made.sampler.batches_per_epoch * (3 if chunk == 4 else 1)
    for _ in range(epochs * steps):
        made._step()
    share = (made.objective.model.x_from_x.weight / before).detach()
    expected = (1 - 1 / (epochs * steps)) ** (epochs * steps)
    assert expected == pytest.approx(math.exp(-1), rel=0.02)  # its limit for many steps
    torch.testing.assert_close(share, torch.full_like(share, expected), rtol=1e-4, atol=0)


def test_a_given_weight_decay_takes_precedence(splits):
    for decay in (0.03, 0.0):
        options = FitOptions(weight_decay=decay, decay_epochs=28.0 if decay else 0.0)
        assert with_decay(options, splits.training).weight_decay == decay


@pytest.mark.parametrize("decay", [0.03, 0.0])
def test_a_given_weight_decay_replaces_the_default_of_a_model(decay):
    assert resolve({}).fit.decay_epochs == 28
    fit = resolve({"fit": {"weight_decay": decay}}).fit
    assert (fit.weight_decay, fit.decay_epochs) == (decay, 0)
    both = resolve({"fit": {"weight_decay": decay, "decay_epochs": 5.0}}).fit
    assert both.decay_epochs == 5


def test_it_is_for_adam():
    with pytest.raises(UsageError, match="decay_epochs is 3, which is for the optimizer 'adam'"):
        FitOptions(optimizer="rmsprop", decay_epochs=3.0)
    fit = resolve({"fit": {"optimizer": "rmsprop"}}).fit
    assert (fit.optimizer, fit.decay_epochs) == ("rmsprop", 0.0)
