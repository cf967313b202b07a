"""Log-likelihoods by a grid over the latents against probabilistic PCA, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_gaussian import INFO, SCALE, LinearRows, NormalOfNoise

import pyrodgm as dgm
from oracles import ppca_log_prob
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.grid import log_integral
from pyrodgm.errors import CompatibilityError, QuadratureWarning, UsageError
from pyrodgm.evaluate.likelihood.bounds import bound, sequence_bounds
from pyrodgm.evaluate.likelihood.quadrature import integrates, quadrature
from pyrodgm.evaluate.likelihood.validation import EXACT, validate
from pyrodgm.evaluate.likelihood.weights import has_bound, has_weights
from pyrodgm.guides import DiagonalNormal, FeedForwardImplicit
from pyrodgm.models import SBN, VAE, VRNN, FeedForwardGenerator, ModelTraits, Site, StepModel

TWO = ((0.8, 0.3), (-0.5, 0.9))


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows(num=6, lengths=None):
    x = np.random.default_rng(0).normal(size=(num, 2))
    return Sequences(x, np.ones(num, int) if lengths is None else np.array(lengths))


@pytest.mark.parametrize("weight", [((0.8,), (-0.5,)), TWO])
@pytest.mark.usefixtures("double")
def test_it_is_the_likelihood_of_probabilistic_pca(weight):
    model, data = LinearRows(weight=weight), rows()
    exact = ppca_log_prob(model.weight, model.centre, SCALE, data.x.double()).detach().numpy()
    np.testing.assert_allclose(quadrature(model, data), exact, atol=1e-6)
    ragged = rows(lengths=[3, 1, 2])
    found = quadrature(model, ragged)
    np.testing.assert_allclose(found, np.add.reduceat(exact, [0, 3, 4]), atol=1e-6)


class Layered(StepModel):
    """Two sites of one number, z2 and then z1 = a z2 + b e: the second as in probabilistic PCA."""

    traits = ModelTraits(latents="continuous", sequential=False)

    def __init__(self):
        super().__init__(INFO)
        self.history, self.observed = 0, {"x": 2}
        self.latents = {"z2": Site(1, "continuous"), "z1": Site(1, "continuous")}
        self.weight = torch.nn.Parameter(torch.tensor([[0.8], [-0.5]]))

    def step(self, draw, past, encoded, t):
        zero = self.weight.new_zeros(1)
        z2 = draw("z2", dgm.distributions.NormalVector(zero, zero + 1))
        z1 = draw("z1", dgm.distributions.NormalVector(0.6 * z2, zero + 0.8))
        mean = z1 @ self.weight.T
        draw("x", dgm.distributions.NormalVector(mean, torch.full_like(mean, SCALE)))


@pytest.mark.usefixtures("double")
def test_two_sites_are_integrated_together():
    model, data = Layered(), rows()
    exact = ppca_log_prob(model.weight, torch.zeros(2), SCALE, data.x.double()).detach()
    np.testing.assert_allclose(quadrature(model, data), exact.numpy(), atol=1e-6)


@pytest.mark.usefixtures("double")
def test_missing_values_and_conditions_belong_to_their_rows():
    model, data = LinearRows(), rows(3)
    x = data.x.numpy().copy()
    x[1, 0] = np.nan
    found = quadrature(model, Sequences(x, np.ones(3, int)))
    one = ppca_log_prob(model.weight[1:], model.centre[1:], SCALE, data.x[1:2, 1:].double())
    assert found[1] == pytest.approx(float(one.detach()), abs=1e-6)
    facts = {"condition_mean": (0.0,), "condition_std": (1.0,)}
    info = DataInfo("bits", "binary", 3, (0.5,) * 3, 1.0, 1, **facts)
    torch.manual_seed(0)
    vae = VAE(info, latent_dim=1, hidden_dim=4)
    given, bits = np.array([[0.0], [2.0], [0.0]]), np.array([[1, 0, 1]] * 3, np.uint8)
    nats = quadrature(vae, Sequences(bits, np.ones(3, int), conditions=given))
    assert nats[0] == nats[2] != nats[1]


def test_a_grid_that_is_too_coarse_is_warned_of():
    narrow = torch.distributions.Normal(torch.full((1,), 0.004), 1e-3)
    with pytest.warns(QuadratureWarning, match="the integrand is too narrow"):
        log_integral(narrow.log_prob, 1)


def test_what_cannot_be_integrated_is_refused_in_words():
    bits = DataInfo("bits", "binary", 4, (0.5,) * 4, 1.0, 1)
    real = replace(INFO, std=(1.0, 1.0))
    cases = {
        "has 3 latents, but a grid is possible for": VAE(bits, latent_dim=3, hidden_dim=2),
        "VRNN is not a model of independent rows": VRNN(bits, latent_dim=1, hidden_dim=2),
        "SBN has latents that are not continuous": SBN(bits, hidden_dim=2),
        "FeedForwardGenerator has no normalised density": FeedForwardGenerator(real),
        r"has probability 0\.\d+ on the grid": LinearRows(prior=9.0).float(),
    }
    for words, model in cases.items():
        with pytest.raises(CompatibilityError, match=words):
            quadrature(model, rows())
        assert not integrates(model)


def test_it_is_done_unasked_where_the_guide_has_no_density_and_the_data_is_small():
    splits = dgm.data.load("avb-points", copies=2)
    torch.manual_seed(0)
    model = VAE(splits.info, hidden_dim=4)
    implicit, normal = FeedForwardImplicit(model, hidden_dim=4), DiagonalNormal(model)
    exact = quadrature(model, splits.test)
    nats, used = sequence_bounds(model, implicit, splits.test, particles=5)
    assert used == "quadrature"
    np.testing.assert_array_equal(nats, exact)
    found = bound(model, normal, splits.test, estimator="quadrature", particles=5)
    assert (found.estimator, found.particles) == ("quadrature", 1)
    assert found.nats_per_frame == pytest.approx(exact.mean())
    assert bound(model, normal, splits.test, particles=500).nats_per_frame < exact.mean() + 0.02
    valid = validate(model, implicit, splits.valid)
    assert (valid.by, valid.score) == (EXACT, pytest.approx(exact.mean(), abs=1e-3))
    assert (has_bound(model, implicit), has_weights(model, implicit)) == (True, False)
    with pytest.raises(UsageError, match="FeedForwardImplicit has no density that can be comp"):
        bound(model, implicit, splits.test, estimator="iwae")
    model.info = replace(splits.info, num_frames=1_000_000)
    assert not has_bound(model, implicit)
    assert has_bound(model, normal)


def test_a_guide_of_noise_with_a_known_model_needs_no_density():
    model = LinearRows().float()
    assert has_bound(model, NormalOfNoise(model))
