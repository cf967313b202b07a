"""Machines of real numbers against integration over a grid."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models.test_rbm import INFO, states

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.evaluate.likelihood.annealing import forward_weights
from pyrodgm.evaluate.likelihood.energy import energy_likelihood, validate_energy
from pyrodgm.guides import NoGuide
from pyrodgm.models import RBM
from pyrodgm.objectives import CD

D, H = 2, 3
REAL = replace(INFO, kind="real", dim=D, mean=(0.0, 0.0), std=(1.0, 0.5), centre=(0.0, 0.0))


def machine(hidden=H):
    torch.manual_seed(0)
    model = RBM(REAL, hidden_dim=hidden).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model


def grid():
    """Points of the plane, (N, D), and the area around each."""
    side = torch.linspace(-24, 24, 1001, dtype=torch.float64)
    return torch.cartesian_prod(side, side), float(side[1] - side[0]) ** 2


@torch.no_grad()
def test_potential_and_normaliser_are_those_of_sums_and_integrals():
    model, (v, area) = machine(), grid()
    scaled, h = v / model.log_scale.exp(), states(H)
    square = ((v - model.visible) / model.log_scale.exp()).square().sum(-1)
    joint = (h @ model.hidden) + scaled @ model.weight.T @ h.T - 0.5 * square[:, None]
    rows = v[:, None]
    potential = model.potential(rows, Batch.of(rows)).squeeze(1)
    torch.testing.assert_close(potential, joint.logsumexp(1))
    log_z = potential.logsumexp(0) + np.log(area)
    torch.testing.assert_close(model.log_normaliser(), log_z)


@torch.no_grad()
def test_a_sweep_and_annealing_leave_the_distribution_unchanged():
    model, (v, area) = machine(), grid()
    p = (model.machine.potential(v) - model.log_normaliser()).exp() * area
    rows = v[p.multinomial(40_000, replacement=True)]
    moments = torch.cat([p @ v, p @ v.square()])
    moved = model.machine.gibbs(rows)
    assert_mean(torch.cat([moved, moved.square()], -1), moments, power=0.2)
    log_w = forward_weights(model.annealing(), 20_000, 8)
    assert log_w.std() > 0.1
    assert_mean((log_w - model.log_normaliser()).exp()[:, None], torch.ones(1).double())


def test_data_of_real_numbers_is_scored_and_learned():
    model = RBM(REAL, hidden_dim=H)
    data = Sequences(np.random.default_rng(0).normal(size=(40, D)), np.full(40, 1))
    assert energy_likelihood(model, data).exact
    assert validate_energy(model, data).by == "exact"
    loss = CD(model, NoGuide(model), steps=2)(Batch.of(torch.randn(4, 1, D)))
    loss.surrogate.backward()
    assert model.log_scale.grad.abs().sum() > 0
    assert not RBM(REAL, learn_scale=False).log_scale.requires_grad


def test_what_there_is_not_is_refused():
    assert not RBM(REAL, hidden_dim=21).enumerable
    with pytest.raises(CompatibilityError, match="21 hidden units"):
        RBM(REAL, hidden_dim=21).log_normaliser()
    with pytest.raises(DataError, match="has count values"):
        RBM(replace(REAL, kind="count"))
