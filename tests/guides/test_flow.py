"""Flows: their densities by quadrature and by the change of variables, for draws and for values."""

import math
from dataclasses import replace

import pytest
import torch

from oracles import gradient
from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.terms import path_terms, terms
from pyrodgm.errors import UsageError
from pyrodgm.guides import NormalFlow
from pyrodgm.guides.rows import SPREAD
from pyrodgm.models import DLGM, VAE
from variants import INFOS, WITH_CONDITIONS, conditions, frames, path_log_probs, randomised

# Standard deviations of weights for which densities are wide enough for the grid.
FLOWS = {"iaf": 0.2, "spline": 0.05, "planar": 0.4, "radial": 0.4}
EDGE, STEPS = 10.0, {1: 1001, 2: 201}  # of the grid on which densities are integrated


def made(flow, latent_dim=2, **facts):
    info = replace(INFOS["bernoulli"], **facts)
    model = randomised(VAE(info, latent_dim=latent_dim, hidden_dim=3), 0.5)
    return model, randomised(NormalFlow(model, flow=flow, hidden_dim=4), FLOWS[flow])


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("flow", FLOWS)
def test_the_density_integrates_to_one(flow, dim):
    torch.manual_seed(0)
    _, guide = made(flow, dim)
    line = torch.linspace(-EDGE, EDGE, STEPS[dim]).double()
    grid = torch.cartesian_prod(*[line] * dim).reshape(-1, 1, 1, dim)
    batch = Batch.of(frames("bernoulli", 2, 1))
    with torch.no_grad():
        log_q = score(guide, batch, {"z": grid.expand(-1, 2, -1, -1)})["z"]
    mass = log_q.exp().sum((0, 2)) * (line[1] - line[0]) ** dim
    torch.testing.assert_close(mass, torch.ones(2).double(), rtol=0, atol=2e-3)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("flow", FLOWS)
def test_the_density_of_draws_is_that_of_the_change_of_variables(flow, dim):
    torch.manual_seed(1)
    given, _ = conditions(2, 1)
    _, guide = made(flow, dim, **WITH_CONDITIONS)
    batch = Batch.of(frames("bernoulli", 2, 1), given)
    draws = draw(guide, batch, 3, keep_noise=True)
    noise = draws.noise["z"]

    def values(noise):
        return draw(guide, batch, 3, noise={"z": noise}).values["z"]

    torch.testing.assert_close(values(noise), draws.values["z"])
    full = torch.autograd.functional.jacobian(values, noise).reshape(6, dim, 6, dim)
    each = torch.stack([full[i, :, i] for i in range(6)]).reshape(3, 2, 1, dim, dim)
    normal = -0.5 * (noise.square() + math.log(2 * math.pi)).sum(-1)
    exact = normal - torch.linalg.slogdet(each).logabsdet
    torch.testing.assert_close(draws.log_probs["z"], exact)
    fixed = {"z": draws.values["z"].detach()}
    torch.testing.assert_close(score(guide, batch, fixed)["z"], exact)


@pytest.mark.parametrize("flow", FLOWS)
def test_gradients_of_draws_and_of_given_values_agree(flow):
    """The total derivative is the sum of that through the draws and of that at fixed draws."""
    torch.manual_seed(2)
    model, guide = made(flow)
    parameters = list(guide.parameters())
    batch = Batch.of(frames("bernoulli", 2, 1))
    draws = draw(guide, batch, 3)
    z = draws.values["z"]
    total = gradient(draws.log_probs["z"].sum(), parameters)
    inverted = score(guide, batch, {"z": z})["z"]
    torch.testing.assert_close(gradient(inverted.sum(), parameters), total)
    fixed = gradient(score(guide, batch, {"z": z.detach()})["z"].sum(), parameters)
    along = gradient(path_terms(model, guide, batch, {"z": z}).path["z"].sum(), parameters)
    torch.testing.assert_close(along + fixed, total)


@pytest.mark.parametrize("flow", FLOWS)
def test_both_executions_agree(flow):
    torch.manual_seed(3)
    model, guide = made(flow)
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    batch = Batch(frames("bernoulli", 2, 3) * mask[..., None], mask, torch.arange(2))
    for particles in (1, 4):
        found = terms(model, guide, batch, particles)
        for fused in (True, False):
            nats = path_log_probs(guide, batch, found.values, fused=fused)
            torch.testing.assert_close(nats["z"], found.q["z"])


@pytest.mark.parametrize("flow", FLOWS)
def test_it_starts_near_a_normal_distribution_that_is_narrower_than_the_prior(flow):
    torch.manual_seed(4)
    model = VAE(INFOS["bernoulli"], latent_dim=2, hidden_dim=3)
    guide = NormalFlow(model, flow=flow, hidden_dim=4)
    for posterior in guide.posteriors.values():
        torch.nn.init.zeros_(posterior.last.weight)
    batch = Batch.of(frames("bernoulli", 1, 1).float())
    z = draw(guide, batch, 20000).values["z"].detach().reshape(-1, 2)
    torch.testing.assert_close(z.mean(0), torch.zeros(2), rtol=0, atol=0.2)
    torch.testing.assert_close(z.std(0), torch.full((2,), SPREAD), rtol=0.3, atol=0)


def test_a_value_without_gradients_is_not_taken_for_the_draw():
    torch.manual_seed(5)
    _, guide = made("iaf")
    batch = Batch.of(frames("bernoulli", 2, 1))
    draws = draw(guide, batch, 3)
    distribution, z = draws.factors["z"].distribution, draws.values["z"]
    parameters = list(guide.parameters())
    total, fixed = (
        gradient(distribution.log_prob(value).sum(), parameters) for value in (z, z.detach())
    )
    assert not torch.allclose(total, fixed)
    exact = gradient(score(guide, batch, {"z": z.detach()})["z"].sum(), parameters)
    torch.testing.assert_close(fixed, exact)


def test_every_site_has_a_flow_of_its_own():
    model = DLGM(INFOS["bernoulli"], latent_dim=(3, 1), hidden_dim=3)
    found = terms(model, NormalFlow(model, hidden_dim=3), Batch.of(torch.zeros(2, 1, 3)), 2)
    assert {name: value.shape[-1] for name, value in found.values.items()} == {"z1": 3, "z2": 1}


def test_units_that_nothing_has_are_refused():
    model = VAE(INFOS["bernoulli"], latent_dim=3, hidden_dim=3)
    with pytest.raises(UsageError, match="flow_dim is 2, and a latent site has 3"):
        NormalFlow(model, flow_dim=2)
    with pytest.raises(UsageError, match="maps of flow 'planar' have no networks"):
        NormalFlow(model, flow="planar", flow_dim=8)
