"""A restricted Boltzmann machine against the enumeration of both of its layers."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.models import RBM

D, H = 4, 3
RATES = (0.2, 0.5, 0.7, 0.4)
INFO = DataInfo("bits", "binary", D, RATES, 1.0, 1)


def states(dim):
    """Every row of bits, (2^dim, dim), the first bit the most significant."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=dim)), dtype=torch.float64)


def machine(hidden=H, info=INFO):
    """A machine whose units depend on each other."""
    model = RBM(info, hidden_dim=hidden).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=1.0)
    return model


def joint(model):
    """The unnormalised log-probability of every (v, h), (2^D, 2^H), as it is defined."""
    v, h = states(model.weight.shape[1]), states(model.weight.shape[0])
    return (v @ model.visible)[:, None] + h @ model.hidden + v @ model.weight.T @ h.T


def number(rows):
    """Which of `states` each row is."""
    return (rows.double() @ (2.0 ** torch.arange(rows.shape[-1]).flip(0).double())).long()


def one_hot(rows):
    return F.one_hot(number(rows), 2 ** rows.shape[-1]).double()


@pytest.mark.parametrize("hidden", [2, 4, 6])
def test_potential_and_normaliser_are_those_of_enumeration(hidden):
    torch.manual_seed(0)
    model = machine(hidden)
    rows = states(D)[:, None]
    found = model.potential(rows, Batch.of(rows)).squeeze(1)
    torch.testing.assert_close(found, joint(model).logsumexp(1))
    torch.testing.assert_close(model.log_normaliser(), joint(model).logsumexp((0, 1)))


def test_many_states_are_enumerated_in_parts():
    """With independent units log Z is a sum; 15 bits take more than one part."""
    model = RBM(DataInfo("bits", "binary", 16, (0.3,) * 16, 1.0, 1), hidden_dim=15)
    with torch.no_grad():
        model.weight.zero_()
        model.hidden.normal_()
    expected = F.softplus(model.visible.double()).sum() + F.softplus(model.hidden.double()).sum()
    torch.testing.assert_close(model.log_normaliser(), expected)


def test_a_large_machine_is_not_enumerated():
    model = RBM(DataInfo("bits", "binary", 30, (0.3,) * 30, 1.0, 1), hidden_dim=21)
    assert not model.enumerable
    with pytest.raises(CompatibilityError, match="30 visible and 21 hidden units"):
        model.log_normaliser()


def test_a_sweep_leaves_the_exact_distribution_unchanged():
    torch.manual_seed(1)
    model = machine()
    with torch.no_grad():
        p = joint(model).logsumexp(1).softmax(0)
        rows = states(D)[p.multinomial(60_000, replacement=True)][:, None]
        moved = model.gibbs(rows, Batch.of(rows))
    assert (moved != rows).any(-1).double().mean() > 0.2
    assert_mean(one_hot(moved[:, 0]), p)


def test_conditionals_are_those_of_enumeration():
    torch.manual_seed(2)
    model = machine()
    p = joint(model)
    h_given_v = p.softmax(1) @ states(H)
    torch.testing.assert_close(model.machine.hidden_log_odds(states(D)).sigmoid(), h_given_v)
    v_given_h = p.softmax(0).T @ states(D)
    torch.testing.assert_close(model.machine.visible_log_odds(states(H)).sigmoid(), v_given_h)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_move_along_the_path_satisfies_detailed_balance(beta):
    """From p at beta, the frequency of (v, v') is that of (v', v)."""
    torch.manual_seed(3)
    model = machine()
    path = model.annealing()
    with torch.no_grad():
        nats = path.log_ratio(states(D), 0.0, beta) + states(D) @ path.base
        before = states(D)[nats.softmax(0).multinomial(20_000, replacement=True)]
        after = path.move(before, beta)
    pairs = F.one_hot(number(before) * 2**D + number(after), 4**D).double().unflatten(1, (16, 16))
    difference = (pairs - pairs.mT).flatten(1)
    error = difference.std(0) / len(difference) ** 0.5
    assert (difference.mean(0).abs() <= 5.5 * error + 1e-9).all()  # 256 pairs at 1e-5 in all
    assert_mean(one_hot(after), nats.softmax(0))


def test_visible_units_start_at_the_rates_of_the_data():
    torch.testing.assert_close(RBM(INFO).visible.sigmoid(), torch.tensor(RATES))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"kind": "count"}, "has count values"), ({"has_missing": True}, "has missing values")],
)
def test_other_data_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        RBM(replace(INFO, **change))
