"""Hamiltonian steps: by the leapfrog formula, by quadrature, and what they gain."""

import math

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows
from rows import network

from oracles import assert_mean, gradient, ppca_log_prob, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.auxiliary import Extended
from pyrodgm.engine.terms import scored_terms, terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import Hamiltonian
from pyrodgm.models import DLGM, TSBN, VAE
from pyrodgm.objectives import ELBO, IWAE, STL
from variants import INFOS, frames, path_log_probs, randomised

D = 3
INFO = DataInfo("rows", "real", D, (0.0,) * D, 1.0, 1)
WEIGHT = ((0.8, 0.5), (-0.5, 0.9), (0.3, -0.7))
X = torch.tensor([0.6, -1.1, 0.3]).double()
NODES = 20


def linear_pair(dim, steps, std=0.3):
    model = LinearRows(INFO, tuple(row[:dim] for row in WEIGHT), (0.2, -0.1, 0.0))
    guide = randomised(Hamiltonian(model, steps=steps, hidden_dim=4), std)
    for each in (guide.start, *guide.reverse.momenta):
        torch.nn.init.constant_(each.first.bias, 4.0)  # networks are smooth where draws are
    torch.nn.init.normal_(guide.reverse.log_steps, math.log(0.4), 0.2)
    return model, guide


def normal(numbers):
    mean, raw = numbers.chunk(2, -1)
    return torch.distributions.Normal(mean, torch.nn.functional.softplus(raw) + 1e-3)


def log_joint(model, x, s):
    mean = s @ model.weight.T + model.centre
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(s).sum(-1)
    return prior + torch.distributions.Normal(mean, SCALE).log_prob(x).sum(-1)


def slope(model, x, s):
    """Of the log-density, by its formula; the model's weights are constants."""
    weight, centre = model.weight.detach(), model.centre.detach()
    return (x - centre - s @ weight.T) @ weight / SCALE**2 - s


def by_leapfrog(model, guide, x, start, momenta):
    """Algorithm 2 of Salimans et al. from noise of the start and momenta: log weights, and z.

    Each step is a leapfrog step: half a step of the momentum, one of the state, and half a step of
    the momentum again.
    """
    unit = torch.distributions.Normal(0.0, 1.0)
    q = normal(network(guide.start, x))
    z = q.mean + q.stddev * start
    log_w = -q.log_prob(z).sum(-1)
    for v, each, size in zip(
        momenta, guide.reverse.momenta, guide.reverse.log_steps.exp(), strict=True
    ):
        log_w = log_w - unit.log_prob(v).sum(-1)
        half = v + 0.5 * size * slope(model, x, z)
        z = z + size * half
        v = half + 0.5 * size * slope(model, x, z)
        read = torch.cat([z, x.expand(*z.shape[:-1], -1)], -1)
        log_w = log_w + normal(network(each, read)).log_prob(v).sum(-1)
    return log_w + log_joint(model, x, z), z


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_are_those_of_leapfrog_steps(steps):
    """The noise of the draws is found from the states, and then taken through the algorithm."""
    torch.manual_seed(0)
    model, guide = linear_pair(2, steps)
    batch = Batch.of(X.expand(2, 1, -1))
    found = terms(model, guide, batch, 5)
    states = [found.values[name] for name in (*guide.reverse.latents, "z")]
    q = normal(network(guide.start, X))
    noise = [(states[0] - q.mean) / q.stddev]
    for before, after, size in zip(
        states[:-1], states[1:], guide.reverse.log_steps.exp(), strict=True
    ):
        noise.append((after - before) / size - 0.5 * size * slope(model, X, before))
    log_w, z = by_leapfrog(model, guide, X, noise[0], noise[1:])
    torch.testing.assert_close(z, found.values["z"])
    torch.testing.assert_close(found.log_w, log_w)
    given = scored_terms(model, guide, batch, found.values)
    torch.testing.assert_close(given.log_w, log_w)


def test_weights_are_unbiased_and_the_bound_is_below_the_likelihood():
    torch.manual_seed(1)
    model, guide = linear_pair(2, 2, std=0.05)
    for each in guide.reverse.momenta:  # wider than the momenta, so that weights have a variance
        each.last.bias.data[2:] = 1.3
    with torch.no_grad():
        log_w = terms(model, guide, Batch.of(X.expand(2000, 1, -1)), 40).log_w.flatten()
        log_p = ppca_log_prob(model.weight, model.centre, SCALE, X)
    assert_mean((log_w - log_p).exp(), 1.0, power=0.2)
    bounds = [log_w.unflatten(0, (-1, k)).logsumexp(1).mean() - math.log(k) for k in (1, 8, 40)]
    assert bounds[0] < bounds[1] < bounds[2] < log_p


def quadrature(model, guide):
    """Log weights on nodes of the noise of a start and of one momentum, and their probabilities."""
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    both = torch.cartesian_prod(nodes, nodes)
    log_w, _ = by_leapfrog(model, guide, X, both[:, :1], [both[:, 1:]])
    return log_w, torch.outer(mass, mass).flatten() / mass.sum() ** 2


def pairs(log_w, mass):
    mean = torch.logaddexp(log_w[:, None], log_w) - math.log(2)
    return (mass[:, None] * mass * mean).sum()


OBJECTIVES = {
    "elbo": (ELBO, {}, lambda log_w, mass: (mass * log_w).sum()),
    "stl": (STL, {}, lambda log_w, mass: (mass * log_w).sum()),
    "iwae": (IWAE, {"particles": 2}, pairs),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mean_gradient_of_the_guide_and_of_step_sizes_by_quadrature(name):
    torch.manual_seed(2)
    model, guide = linear_pair(1, 1)
    kind, options, target = OBJECTIVES[name]
    parameters = list(guide.parameters())
    exact = gradient(target(*quadrature(model, guide)), parameters)
    objective, batch = kind(model, guide, **options), Batch.of(X.expand(1500, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=40)
    assert_mean(samples, exact, power=0.1)


def test_the_model_has_the_gradient_of_the_bound_for_a_fixed_guide():
    torch.manual_seed(3)
    model, guide = linear_pair(1, 1)
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    both = torch.cartesian_prod(nodes, nodes)
    _, z = by_leapfrog(model, guide, X, both[:, :1], [both[:, 1:]])
    mass = torch.outer(mass, mass).flatten() / mass.sum() ** 2
    parameters = list(model.parameters())
    exact = gradient((mass * log_joint(model, X, z.detach())).sum(), parameters)
    objective, batch = ELBO(model, guide), Batch.of(X.expand(1500, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=40)
    assert_mean(samples, exact, power=0.1)


def test_steps_fit_a_correlated_posterior_better_than_independent_numbers():
    torch.manual_seed(4)
    model = LinearRows(INFO, ((1.6, 1.5), (-1.4, -1.5), (1.1, 1.3)), (0.2, -0.1, 0.0)).float()
    guide = Hamiltonian(model, steps=2, hidden_dim=16)
    batch, objective = Batch.of(X[None, None].float()), ELBO(model, guide, particles=32)
    optimizer = torch.optim.Adam(guide.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        objective(batch).surrogate.backward()
        optimizer.step()
    with torch.no_grad():
        found = terms(model, guide, batch, 20_000).log_w[:, 0, 0].double()
        weight = model.weight.double()
        precision = torch.eye(2) + weight.T @ weight / SCALE**2
        log_p = ppca_log_prob(weight, model.centre.double(), SCALE, X)
        best = log_p - 0.5 * (precision.diagonal().log().sum() - precision.logdet())
    error = float(found.std()) / math.sqrt(len(found))
    assert float(found.mean()) - 5 * error > float(best) + 0.3
    assert float(found.mean()) < float(log_p) + 5 * error


def test_both_executions_agree_with_several_layers_and_missing_values():
    torch.manual_seed(5)
    model = randomised(DLGM(INFOS["bernoulli"], latent_dim=(2, 1), hidden_dim=3), 0.5)
    guide = randomised(Hamiltonian(model, steps=2, hidden_dim=4), 0.5)
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    seen = (torch.rand(2, 3, 3) < 0.7) & mask[..., None]
    batch = Batch(frames("bernoulli", 2, 3) * seen, mask, torch.arange(2), seen)
    found = terms(model, guide, batch, 4)
    assert {name: value.shape[-1] for name, value in found.values.items()} == {
        "s0": 3,
        "s1": 3,
        "z1": 2,
        "z2": 1,
    }
    for program, nats in ((guide, found.q), (Extended(model, guide.reverse), found.p)):
        for fused in (True, False):
            again = path_log_probs(program, batch, found.values, fused=fused)
            for name, exact in nats.items():
                torch.testing.assert_close(again[name], exact)


@pytest.mark.parametrize("grad", [True, False])
def test_no_gradient_is_left_on_the_model(grad):
    model = VAE(INFOS["bernoulli"], latent_dim=2, hidden_dim=3)
    guide = Hamiltonian(model, hidden_dim=4)
    with torch.set_grad_enabled(grad):
        terms(model, guide, Batch.of(torch.rand(2, 1, 3)), 3)
    assert all(each.grad is None and each.requires_grad for each in model.parameters())


def test_a_model_whose_density_is_of_more_than_a_row_is_refused():
    with pytest.raises(CompatibilityError, match="not defined by steps of single rows"):
        Hamiltonian(TSBN(INFOS["nade"], hidden_dim=2))
