"""Rows of bits by a NADE: its probabilities, draws in any order, and imputation by enumeration."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from oracles import all_paths, assert_mean, nade
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.draws import score
from pyrodgm.engine.programs import generate
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.evaluate.prediction.impute import impute
from pyrodgm.guides import NoGuide
from pyrodgm.models import NADE
from variants import WITH_CONDITIONS, conditions, randomised

D, H = 6, 3
INFO = DataInfo("rows", "binary", D, (0.3,) * D, 1.0, 1)
ROWS = all_paths(1, D)


def made(order_seed=1, **facts):
    return randomised(NADE(replace(INFO, **facts), hidden_dim=H, order_seed=order_seed))


def log_probs(model, x, given=None):
    return score(model, Batch.of(x, given), {})["x"][0, :, 0]


@pytest.mark.parametrize("order_seed", [None, 1])
def test_probabilities_are_those_of_the_formula_and_sum_to_one(order_seed):
    given, seen = conditions(1, 1)
    model = made(order_seed, **WITH_CONDITIONS)
    with torch.no_grad():
        found = log_probs(model, ROWS, given.expand(len(ROWS), -1, -1))
        order = torch.arange(D) if order_seed is None else model.emission.order
        numbers = (model.bias + model.from_given(seen))[0, 0]
        numbers = torch.cat([numbers[:D][order], numbers[D:]])
        into, out = (w[order] for w in (model.emission.weight_in, model.emission.weight_out))
        expected = nade(into, out)(numbers.expand(len(ROWS), -1), ROWS[:, 0, order])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.logsumexp(0), torch.zeros(()).double())


def test_an_order_follows_from_its_seed():
    orders = [made(seed).emission.order.tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(D))


def test_draws_have_these_probabilities():
    torch.manual_seed(0)
    model = made()
    draws = generate(model, 100_000, 1, model.bias)["x"][:, 0]
    places = (draws @ 2.0 ** torch.arange(D - 1, -1, -1).double()).long()
    with torch.no_grad():
        exact = log_probs(model, ROWS).exp()
    assert_mean(torch.nn.functional.one_hot(places, 2**D).double(), exact)


def test_gradients_flow_to_values_and_rare_ones_do_not_stop_them():
    model = made()
    value = torch.zeros(1, 1, D).double().requires_grad_()
    grad = torch.autograd.grad(log_probs(model, value).sum(), value)[0][0, 0]
    step = 1e-6 * torch.eye(D).double()[:, None]  # of values that carry gradients themselves
    slopes = (log_probs(model, value + step) - log_probs(model, value - step)).detach() / 2e-6
    torch.testing.assert_close(grad, slopes, rtol=0, atol=1e-7)


def test_imputation_is_that_of_enumeration():
    """Weighted by the observed bits that come after missing ones in the order."""
    torch.manual_seed(2)
    model = made()
    row = np.array([[1, np.nan, 0, np.nan, 1, np.nan]], np.float32)
    rows = Sequences(np.repeat(row, 40, 0), np.ones(40, int))
    seen = ~torch.from_numpy(row[0]).isnan()
    with torch.no_grad():
        fits = (ROWS[:, 0, seen] == torch.tensor([1.0, 0.0, 1.0]).double()).all(-1)
        weights = log_probs(model, ROWS).masked_fill(~fits, -torch.inf).softmax(0)
    exact = weights @ ROWS[:, 0]
    model.float()
    found = impute(model, NoGuide(model), rows, samples=2000)
    assert_mean(torch.from_numpy(found.x).double(), exact)
    assert np.array_equal(found.x[:, seen], np.repeat(row[:, seen], 40, 0))


def test_what_it_cannot_score_is_refused():
    with pytest.raises(DataError, match="scores binary values, but the data 'rows' has real"):
        NADE(replace(INFO, kind="real"))
    with pytest.raises(DataError, match="cannot score frames with missing features"):
        NADE(replace(INFO, has_missing=True))
    model = made().float()
    missing = Sequences(np.full((2, D), np.nan, np.float32), np.ones(2, int))
    with pytest.raises(CompatibilityError, match="cannot score a frame with missing features"):
        dgm.evaluate.likelihood.bounds.bound(model, NoGuide(model), missing)
