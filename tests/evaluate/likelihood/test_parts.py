"""The parts of the evidence lower bound against probabilistic PCA, by a grid and by draws."""

import json
import math

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows, NormalOfNoise
from scipy.integrate import quad

import pyrodgm as dgm
from oracles import assert_mean
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CriticWarning, QuadratureWarning
from pyrodgm.evaluate.likelihood import parts as module
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.evaluate.likelihood.parts import DRAWS, bound_parts, excess, log_density
from pyrodgm.guides import Auxiliary, DiagonalNormal, GuideTraits, NormalFlow, StepGuide
from pyrodgm.models import VAE, ModelTraits, StepModel
from pyrodgm.networks.conditions import Conditions

SHARES = np.array([3, 1])
X = np.array([[0.6, -1.1], [-0.4, 0.3]])
Z = 4.1  # standard errors: a false-positive rate of 2e-5


class KnownNormal(StepGuide):
    """N(m(x), s^2) with a density."""

    traits = GuideTraits(latents="continuous", sequential=False, reparameterised=True)

    def __init__(self, model, log_scale=-0.4):
        super().__init__(model)
        self.history, self.same = 0, NormalOfNoise(model, log_scale=log_scale)

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        mean = self.same.mean(encoded)[..., None]
        draw("z", NormalVector(mean, self.same.log_scale.exp().expand(mean.shape)))


@pytest.fixture
def pair():
    torch.set_default_dtype(torch.float64)
    yield LinearRows()
    torch.set_default_dtype(torch.float32)


def rows():
    x = np.repeat(X, SHARES, axis=0)
    return Sequences(x, np.ones(len(x), int))


def closed_form(model, guide):
    """Evidence lower bound, reconstruction error per pixel, and KL(q(z), p(z))."""
    x, share = torch.from_numpy(X), SHARES / SHARES.sum()
    m, s = guide.mean(x).detach(), guide.log_scale.exp().item()
    error = x - m[:, None] * model.weight[:, 0] - model.centre
    spread = s**2 * model.weight.square().sum()
    seen = -(error.square().sum(-1) + spread) / (2 * SCALE**2)
    seen = (seen - 2 * math.log(SCALE * math.sqrt(2 * math.pi))).detach().numpy()
    kl = (0.5 * (s**2 + m.square() - 1) - math.log(s)).numpy()

    def integrand(z):
        each = np.exp(-0.5 * ((z - m.numpy()) / s) ** 2) / (s * math.sqrt(2 * math.pi))
        mean = (share * each).sum()
        return mean * (math.log(mean) + 0.5 * z**2 + 0.5 * math.log(2 * math.pi))

    aggregate, _ = quad(integrand, -6, 6, epsabs=1e-10)
    return float(share @ (seen - kl)), float(-share @ seen / 2), aggregate


def test_by_a_grid_they_are_exact(pair):
    guide = KnownNormal(pair)
    found, exact = bound_parts(pair, guide, rows()), closed_form(pair, guide.same)
    assert (found.by, found.elbo_standard_error) == ("quadrature", 0.0)
    numbers = (found.elbo_nats_per_frame, found.reconstruction_error_nats_per_pixel)
    assert (*numbers, found.aggregate_kl_nats) == pytest.approx(exact, abs=1e-6)


def test_without_a_density_they_are_means_over_draws(pair):
    guide = NormalOfNoise(pair)
    found, (_, error, kl) = bound_parts(pair, guide, rows()), closed_form(pair, guide)
    assert (found.by, found.elbo_nats_per_frame) == ("draws", None)
    assert found.reconstruction_error_nats_per_pixel == pytest.approx(error, abs=0.03)
    assert found.aggregate_kl_nats == pytest.approx(kl, abs=0.02)
    assert json.loads(json.dumps(found.to_dict()))["elbo_nats_per_frame"] is None


def test_with_auxiliary_sites_they_are_of_the_bound_that_includes_them():
    splits = dgm.data.load("avb-points", copies=2)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    guide = Auxiliary(model, hidden_dim=4)
    found = bound_parts(model, guide, splits.test)
    many = bound(model, guide, splits.test, particles=2000, estimator="elbo")
    error = math.hypot(found.elbo_standard_error, found.elbo_standard_error * 100_000**0.5 / 126)
    assert abs(found.elbo_nats_per_frame - many.nats_per_frame) < Z * error


@pytest.mark.parametrize("flow", ["iaf", "planar"])
def test_densities_of_flows_are_summed_over_the_grid(flow):
    splits = dgm.data.load("avb-points", copies=2)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    guide = NormalFlow(model, flow=flow, hidden_dim=4)
    found = bound_parts(model, guide, splits.test)
    many = bound(model, guide, splits.test, particles=2000, estimator="elbo")
    assert found.by == "quadrature"
    assert found.elbo_nats_per_frame == pytest.approx(many.nats_per_frame, abs=0.05)


def test_many_rows_are_drawn(monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    splits = dgm.data.load("avb-points", copies=2)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    guide = DiagonalNormal(model, hidden_dim=4)
    drawn = bound_parts(model, guide, splits.test)
    monkeypatch.undo()
    exact = bound_parts(model, guide, splits.test)
    assert (drawn.by, exact.by) == ("draws", "quadrature")
    away = drawn.elbo_nats_per_frame - exact.elbo_nats_per_frame
    assert abs(away) < Z * drawn.elbo_standard_error
    assert drawn.aggregate_kl_nats == pytest.approx(exact.aggregate_kl_nats, abs=0.03)


def test_a_guide_that_is_too_narrow_for_the_grid_is_warned_of(pair):
    with pytest.warns(QuadratureWarning, match="KnownNormal has an integral that differs from 1"):
        bound_parts(pair, KnownNormal(pair, log_scale=-7.0), rows())


class Shifted(StepModel):
    """The prior of the latent has the condition of a row as mean."""

    traits = ModelTraits(latents="continuous", sequential=False, conditions=True)

    def __init__(self, info):
        super().__init__(info)
        self.history, self.latents, self.observed = 0, {"z": Site(1, "continuous")}, {"x": info.dim}
        self.conditions, self.linear = Conditions(info), torch.nn.Linear(1, info.dim)

    def encode(self, batch):
        return self.conditions(batch)

    def step(self, draw, past, encoded, t):
        z = draw("z", NormalVector(encoded, torch.ones_like(encoded)))
        draw("x", BernoulliVector(self.linear(z)))


@pytest.mark.parametrize("name", ["decoder", "prior"])
def test_conditions_of_the_prior_leave_no_single_one(name):
    """Those of the decoder alone do."""
    facts = {"condition_mean": (0.0,), "condition_std": (1.0,)}
    info = DataInfo("bits", "binary", 3, (0.5,) * 3, 1.0, 1, **facts)
    torch.manual_seed(0)
    model = VAE(info, latent_dim=1, hidden_dim=4) if name == "decoder" else Shifted(info)
    given, bits = np.array([[0.0], [2.0]]), np.array([[1, 0, 1]] * 2, np.uint8)
    data = Sequences(bits, np.ones(2, int), conditions=given)
    found = bound_parts(model, DiagonalNormal(model, hidden_dim=4), data)
    assert found.by == "quadrature"
    assert (found.aggregate_kl_nats is None) == (name == "prior")


def test_the_reconstruction_error_is_per_observed_feature(pair):
    """A missing feature is neither in the error nor among the features."""
    x = np.repeat(X, SHARES, axis=0)
    x[:3, 1] = np.nan
    guide = KnownNormal(pair)
    data = Sequences(x, np.ones(4, int), fill=np.array([0.0, 0.3]))
    found = bound_parts(pair, guide, data).reconstruction_error_nats_per_pixel
    filled = torch.from_numpy(np.where(np.isnan(x), [0.0, 0.3], x))
    mean, scale = guide.same.mean(filled).detach(), guide.same.log_scale.exp().item()
    error = (filled - mean[:, None] * pair.weight[:, 0] - pair.centre).square()
    error = error + scale**2 * pair.weight[:, 0].square()
    nats = error / (2 * SCALE**2) + math.log(SCALE * math.sqrt(2 * math.pi))
    assert found == pytest.approx(float(nats[~np.isnan(x)].sum().detach() / 5), abs=1e-6)


def test_the_density_of_normal_draws_has_their_entropy():
    """Within 0.012 nats: five standard deviations of 0.0022 over seeds, and a bias of 0.001."""
    z = torch.randn(DRAWS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = z @ torch.tensor([[0.5, 0.0], [0.8, 2.0]], dtype=torch.float64).T
    entropy = 1 + math.log(2 * math.pi) + 0.5 * math.log(0.5**2 * 2.0**2)
    assert float(-log_density(z).mean()) == pytest.approx(entropy, abs=0.012)


def test_the_log_density_of_few_uniform_draws_is_unbiased():
    """Away from the ends, where the density within the distance of a neighbour is constant."""
    rng, sums = np.random.default_rng(0), []
    for _ in range(4000):
        draws = torch.from_numpy(rng.uniform(size=(24, 1)))
        sums.append(log_density(draws, 2)[(draws[:, 0] - 0.5).abs() < 0.15].sum())
    assert_mean(1 + torch.stack(sums)[:, None] / (24 * 0.3), torch.ones(1).double())


def test_an_estimate_above_the_log_likelihood_is_warned_of():
    assert excess(-1.5, -1.4) == pytest.approx(-0.1)
    with pytest.warns(CriticWarning, match="-1.3000 nats per frame, exceeds the log-likelihood"):
        assert excess(-1.3, -1.4) == pytest.approx(0.1)
