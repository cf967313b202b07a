"""An energy model of real numbers needs its potential alone: chains, paths and draws follow it."""

import math

import numpy as np
import pytest
import torch
from small_fields import REAL, Bowl

from oracles import assert_mean
from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.likelihood.annealing import forward_weights
from pyrodgm.evaluate.likelihood.energy import energy_likelihood
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import NoGuide
from pyrodgm.objectives import PCD

PRECISION = 1.5
LOG_Z = math.log(2 * math.pi / PRECISION)  # of two numbers


@pytest.fixture
def model(double_precision):
    torch.manual_seed(0)
    return Bowl(REAL, PRECISION)


def test_the_weights_of_its_path_are_unbiased(model):
    log_w = forward_weights(model.annealing(), 20_000, 5)
    assert_mean((log_w - LOG_Z).exp(), 1.0)


def test_its_likelihood_is_bracketed(model):
    x = torch.randn(50, 2) / math.sqrt(PRECISION)
    data = Sequences(x.numpy(), np.ones(50, int))
    found = energy_likelihood(model, data, estimator="ais", chains=200, temperatures=200)
    exact = float((-0.5 * PRECISION * x.square().sum(1)).mean()) - LOG_Z
    assert found.lower.nats_per_frame == pytest.approx(exact, abs=0.05)
    assert found.upper.nats_per_frame == pytest.approx(exact, abs=0.05)


def test_its_draws_are_those_of_the_density(model):
    drawn = sample(model, NoGuide(model), REAL, None, num=2000)["x"][:, 0]
    assert_mean(drawn.square(), torch.full((2,), 1 / PRECISION), power=0.2)


def test_its_chains_follow_the_gradient(model):
    assert PCD(model, NoGuide(model)).moves.kind == "sgld"
