"""The refined guide: its fixed point in closed form, its density, and what it gains."""

import math

import pytest
import torch
from linear_gaussian import SCALE, LinearRows

from oracles import ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.terms import terms
from pyrodgm.guides.refined import RefinedNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO
from variants import INFOS, frames, randomised

D, J = 3, 2
INFO = DataInfo("rows", "real", D, (0.0,) * D, 1.0, 1)
WEIGHT = ((0.8, 0.5), (-0.5, 0.9), (0.3, -0.7))
X = torch.tensor([[0.6, -1.1, 0.3], [-0.4, 0.3, 1.2]]).double()[:, None]


def made(**options):
    torch.manual_seed(0)
    model = LinearRows(INFO, WEIGHT, (0.2, -0.1, 0.0))
    guide = randomised(RefinedNormal(model, hidden_dim=3, **options), 0.5)
    points = math.sqrt(J) * torch.eye(J).double()  # draws with the moments of the normal
    guide.noise = torch.cat([points, -points])
    return model, guide


def test_many_steps_reach_the_best_independent_normal_numbers():
    model, guide = made(steps=300)
    with torch.no_grad():
        mean, scale = guide.encode(Batch.of(X))[:, 0].chunk(2, -1)
        precision = torch.eye(J) + model.weight.T @ model.weight / SCALE**2
        exact = (X[:, 0] - model.centre) @ model.weight @ precision.inverse() / SCALE**2
    torch.testing.assert_close(mean, exact, rtol=0, atol=1e-6)
    best = precision.diagonal().rsqrt().detach().expand(2, -1)
    torch.testing.assert_close(scale, best, rtol=1e-6, atol=0)


def test_steps_raise_the_bound_and_it_stays_below_the_likelihood():
    bounds = []
    for steps in (1, 5, 40):
        model, guide = made(steps=steps)
        torch.manual_seed(1)
        with torch.no_grad():
            bounds.append(terms(model, guide, Batch.of(X), 20_000).log_w.mean((0, 2)))
    log_p = ppca_log_prob(model.weight, model.centre, SCALE, X[:, 0]).detach()
    assert (bounds[0] < bounds[1]).all()
    assert (bounds[1] < bounds[2]).all()
    assert (bounds[2] < log_p + 0.05).all()


def test_the_density_of_given_values_is_that_of_draws():
    torch.manual_seed(2)
    model = randomised(VAE(INFOS["bernoulli"], latent_dim=2, hidden_dim=3), 0.5)
    guide = randomised(RefinedNormal(model, hidden_dim=4), 0.5)
    batch = Batch.of(frames("bernoulli", 2, 1))
    draws = draw(guide, batch, 3)
    given = score(guide, batch, {"z": draws.values["z"].detach()})["z"]
    torch.testing.assert_close(given, draws.log_probs["z"])


@pytest.mark.parametrize("training", [True, False])
def test_learning_reaches_the_network_and_leaves_no_gradient_behind(training):
    model, guide = made()
    objective = ELBO(model, guide).train(training)
    terms(model, guide, Batch.of(X), 2)
    assert all(p.grad is None for p in (*model.parameters(), *guide.parameters()))
    objective(Batch.of(X)).surrogate.backward()
    assert all(p.grad is not None for p in (*model.parameters(), *guide.parameters()))
