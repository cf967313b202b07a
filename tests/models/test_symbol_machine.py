"""Machines of symbols against the enumeration of both of their layers."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from models.test_rbm import states
from scipy.stats import chi2

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.kernels import GibbsWithGradients
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.evaluate.likelihood.annealing import forward_weights, reverse_weights
from pyrodgm.evaluate.likelihood.energy import (
    energy_likelihood,
    validate_energy,
)
from pyrodgm.evaluate.likelihood.pseudo import pseudo_likelihood
from pyrodgm.guides import NoGuide
from pyrodgm.models import RBM
from pyrodgm.objectives import PCD

SYMBOLS = ((1, 2, 5), (0, 1, 2), (0, 7, 9), (2, 4, 6))
D, C, H = 4, 3, 5
INFO = DataInfo(
    "dice", "categorical", D, (0.0,) * D, 1.0, 1, symbols=SYMBOLS, frequencies=(0.5, 0.3, 0.2) * D
)
UNEQUAL = replace(
    INFO,
    symbols=((1, 2, 5), (0, 7), (3,), (2, 4, 6, 8)),
    frequencies=(0.5, 0.3, 0.2, 0.1, 0.9, 1.0, 0.4, 0.3, 0.2, 0.1),
)


@pytest.fixture(autouse=True)
def double(double_precision):
    """As the enumeration is; without gradients unless they are asked for."""


def machine(info=INFO, hidden=H):
    """A machine whose units depend on each other."""
    torch.manual_seed(0)
    model = RBM(info, hidden_dim=hidden)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def rows(info=INFO):
    """Every row of symbols, (N, D), the first feature the slowest."""
    return torch.tensor(list(itertools.product(*info.symbols))).double()


def coded(info=INFO):
    """Their one-hot codings as they are defined, (N, S)."""
    found = [
        [float(value == own) for value, each in zip(row, info.symbols, strict=True) for own in each]
        for row in rows(info).tolist()
    ]
    return torch.tensor(found)


def joint(model, info=INFO):
    """The unnormalised log-probability of every (x, h), as it is defined."""
    v, h = coded(info), states(len(model.hidden))
    return (v @ model.visible)[:, None] + h @ model.hidden + v @ model.weight.T @ h.T


def one_hot(x):
    """Which of `rows` each row is, (..., N)."""
    place = torch.stack(
        [
            (x[..., d, None] == torch.tensor(own)).double().argmax(-1)
            for d, own in enumerate(SYMBOLS)
        ]
    )
    number = sum(place[d] * C ** (D - 1 - d) for d in range(D))
    return F.one_hot(number, C**D).double()


def drawn(p, num):
    """Rows with probabilities p, (num, D)."""
    return rows()[p.multinomial(num, replacement=True)]


def assert_distributed(x, p):
    """Rows (N, D) have probabilities p, by a chi-squared statistic; false positives: 2e-5."""
    likely = p * len(x) > 5
    expected = torch.cat([p[likely], p[~likely].sum()[None]]) * len(x)
    counts = one_hot(x).sum(0)
    counts = torch.cat([counts[likely], counts[~likely].sum()[None]])
    statistic = ((counts - expected).square() / expected.clamp(min=1e-9)).sum()
    assert float(statistic) < chi2.isf(2e-5, int(likely.sum()))


@pytest.mark.parametrize("info", [INFO, UNEQUAL], ids=["equal", "unequal"])
@pytest.mark.parametrize("hidden", [2, 9])
def test_free_energy_and_normaliser_are_those_of_enumeration(info, hidden):
    """By the sum over the hidden units with 2, and over the symbols with 9."""
    model, x = machine(info, hidden), rows(info)[:, None]
    found = model.potential(x, Batch.of(x)).squeeze(1)
    torch.testing.assert_close(found, joint(model, info).logsumexp(1))
    torch.testing.assert_close(model.log_normaliser(), joint(model, info).logsumexp((0, 1)))


def test_conditionals_are_those_of_enumeration():
    model = machine()
    p = joint(model)
    h_given_x = p.softmax(1) @ states(H)
    torch.testing.assert_close(model.machine.hidden_log_odds(rows()).sigmoid(), h_given_x)
    x_given_h = p.softmax(0).T @ coded()
    torch.testing.assert_close(model.machine.given_hidden(states(H)).probs, x_given_h)


def test_a_sweep_leaves_the_exact_distribution_unchanged():
    model = machine()
    p = joint(model).logsumexp(1).softmax(0)
    before = drawn(p, 60_000)
    after = model.gibbs(before[:, None], Batch.of(before[:, None]))[:, 0]
    assert (after != before).any(-1).double().mean() > 0.2
    assert_distributed(after, p)


def test_gibbs_with_gradients_moves_codings():
    """The potential of codings is that of symbols, and a move leaves the distribution unchanged."""
    model, x = machine(), rows()
    batch = Batch.of(x[:, None])
    codes = coded()[:, None]
    torch.testing.assert_close(
        model.potential_of_codes(codes, batch), model.potential(batch.x, batch)
    )
    p = joint(model).logsumexp(1).softmax(0)
    start = coded()[p.multinomial(20_000, replacement=True)]
    moved, _ = GibbsWithGradients(model.codes.classes).move(start, model.machine.units.potential)
    assert (moved != start).any(-1).double().mean() > 0.2
    assert_distributed(model.codes.decoded(moved), p)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_a_move_along_the_path_leaves_its_member_unchanged(beta):
    model = machine()
    path = model.annealing()
    nats = path.log_ratio(rows(), 0.0, beta) + coded() @ model.base
    p = nats.softmax(0)
    assert_distributed(path.move(drawn(p, 40_000), beta), p)
    if beta == 1.0:
        torch.testing.assert_close(p, joint(model).logsumexp(1).softmax(0))


@pytest.mark.parametrize("temperatures", [1, 5])
def test_weights_of_both_directions_are_unbiased(temperatures):
    """The expectations are the normaliser and its inverse, so that they bracket log Z."""
    torch.manual_seed(0)
    model = machine()
    for parameter in model.parameters():
        parameter.mul_(0.7)  # else inverse weights of one step hardly have a variance
    path, log_z = model.annealing(), model.log_normaliser()
    log_w = forward_weights(path, 40_000, temperatures)
    assert log_w.std() > 0.2
    assert_mean((log_w - log_z).exp(), 1.0)
    back = reverse_weights(path, drawn(joint(model).logsumexp(1).softmax(0), 40_000), temperatures)
    assert_mean((log_z - back).exp(), 1.0, power=0.1)
    assert log_w.mean() < log_z < back.mean()


def test_the_likelihood_is_bracketed_and_chosen_by():
    model = machine()
    p = joint(model).logsumexp(1).softmax(0)
    data = Sequences(drawn(p, 500).numpy(), np.ones(500, int))
    exact = energy_likelihood(model, data)
    assert exact.exact
    given = {"estimator": "ais", "chains": 500, "temperatures": 50}
    found = energy_likelihood(model, data, **given)
    slack = 5 * (found.normaliser.standard_error_lower + found.normaliser.standard_error_upper)
    assert found.lower.nats_per_frame - slack < exact.lower.nats_per_frame
    assert exact.lower.nats_per_frame < found.upper.nats_per_frame + slack
    assert validate_energy(model, data).by == "exact"


@pytest.mark.parametrize("info", [INFO, UNEQUAL], ids=["equal", "unequal"])
def test_the_pseudo_likelihood_is_that_of_enumeration(info):
    model, x = machine(info), rows(info)
    log_p = joint(model, info).logsumexp(1).log_softmax(0)
    grid = log_p.view(*map(len, info.symbols))
    expected = sum(float((grid - grid.logsumexp(d, keepdim=True)).sum()) for d in range(D))
    data = Sequences(x.numpy(), np.ones(len(x), int))
    assert pseudo_likelihood(model, data) == pytest.approx(expected / len(x))


def test_a_large_machine_is_chosen_by_its_pseudo_likelihood():
    info = replace(INFO, dim=20, mean=(0.0,) * 20, symbols=SYMBOLS[:1] * 20)
    model = RBM(replace(info, frequencies=(0.5, 0.3, 0.2) * 20), hidden_dim=21)
    assert not model.enumerable
    with pytest.raises(CompatibilityError, match=r"21 hidden units and symbols with 2\^31\.7"):
        model.log_normaliser()
    data = Sequences(np.ones((3, 20)), np.ones(3, int))
    assert validate_energy(model, data).by == "pseudo-likelihood"


def test_the_mean_update_of_pcd_in_equilibrium_is_the_gradient_of_the_log_likelihood():
    torch.set_grad_enabled(True)
    model, batch = machine(), Batch.of(rows()[[0, 5, 5, 40, 77]][:, None])
    data = Sequences(rows().numpy(), np.ones(C**D, int))
    objective = PCD(model, NoGuide(model), particles=500)
    objective.begin(data)
    exact = (model.potential(batch.x, batch) - model.log_normaliser()).mean()
    p = joint(model).logsumexp(1).softmax(0).detach()

    def surrogate():
        objective.chains["x"] = drawn(p, 500)[:, None]
        return -objective(batch).surrogate

    parameters = list(model.parameters())
    assert_mean(sample_gradients(surrogate, parameters, 300), gradient(exact, parameters))


def test_visible_units_start_at_the_frequencies_of_the_data():
    model = RBM(INFO)
    probs = model.machine.given_hidden(torch.zeros(1, len(model.hidden))).probs
    torch.testing.assert_close(probs[0], torch.tensor(INFO.frequencies))


def test_missing_symbols_are_refused():
    with pytest.raises(DataError, match="has missing values, and RBM takes none; fill"):
        RBM(replace(INFO, has_missing=True))
