"""Variational autoencoders of bits, classes, and a class beside numbers."""

from dataclasses import replace

import pytest
import torch
from rows import EnumeratedRow, log_softmax_of, network, one_hots, rows_pair

from oracles import assert_mean, bernoulli, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import score
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError, ConfigError, UsageError
from pyrodgm.guides import Factorised
from pyrodgm.models import VAE, ModelTraits, Site, StepModel
from pyrodgm.objectives import RLOO, DisARM
from pyrodgm.setup import compat
from pyrodgm.setup.config import resolve
from variants import INFOS, WITH_CONDITIONS, assert_terms_agree, conditions, frames, randomised

MNIST = DataInfo("rows", "binary", 784, (0.5,) * 784, 1.0, 1)
NODES = 4001


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_log_probabilities_are_those_of_the_formulas(kind):
    torch.manual_seed(0)
    model, guide = rows_pair(kind)
    x = frames("bernoulli")
    exact, batch = EnumeratedRow(model, guide, x), Batch.of(x[None, None])
    z = {"z": exact.z[:, None, None]}
    torch.testing.assert_close(sum(score(model, batch, z).values())[:, 0], exact.log_p)
    torch.testing.assert_close(score(guide, batch, z)["z"][:, 0], exact.log_q)


@pytest.mark.parametrize(
    ("latents", "sites"),
    [
        ("gaussian", {"z": "20 continuous"}),
        ("bernoulli", {"z": "200 binary"}),
        ("categorical", {"z": "200 categorical of 10 classes"}),
        ("mixed", {"z": "20 continuous", "y": "10 categorical of 10 classes"}),
    ],
)
def test_sizes_and_a_prior_that_is_fixed(latents, sites):
    model = VAE(MNIST, latents=latents, hidden_dim=2)
    assert {name: f"{site.dim} {site.words}" for name, site in model.latents.items()} == sites
    assert not list(model.prior.parameters())
    prior = model.prior_of(list(sites)[-1])
    expected = {"gaussian": 0.0, "bernoulli": 0.5}.get(latents, 0.1)
    torch.testing.assert_close(prior.mean, torch.full_like(prior.mean, expected))


@pytest.mark.parametrize("latents", ["bernoulli", "categorical", "mixed"])
def test_both_executions_agree_with_conditions_and_time(latents):
    torch.manual_seed(1)
    info = replace(INFOS["bernoulli"], **WITH_CONDITIONS)
    model = randomised(VAE(info, latents=latents, latent_dim=2, hidden_dim=3), 0.5)
    guide = randomised(Factorised(model, hidden_dim=3), 0.5)
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    given, _ = conditions(2, 3)
    x = frames("bernoulli", 2, 3) * mask[..., None]
    batch = Batch(x, mask, torch.arange(2), None, given)
    found = terms(model, guide, batch, 4)
    assert_terms_agree(model, guide, batch, found)


def test_the_gradient_beside_numbers_is_that_of_the_bound_by_quadrature():
    """A class by its score and a number by its path: nodes of the number, sums over classes."""
    torch.manual_seed(2)
    model, guide = rows_pair("mixed", 0.4, latents="mixed", latent_dim=1, classes=3)
    x = frames("bernoulli")
    nodes = torch.linspace(-8, 8, NODES).double()  # networks have kinks, so many of them
    mass = (-(nodes**2) / 2).exp()
    mean, raw = network(guide.posteriors["z"], x)
    z = mean + (torch.nn.functional.softplus(raw) + 1e-3) * nodes
    standard = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    log_q = torch.distributions.Normal(mean, (z - mean)[0] / nodes[0]).log_prob(z)
    bound = 0
    for y in one_hots(1, 3):
        log_y = log_softmax_of(network(guide.posteriors["y"], x), y, 3)
        joint = torch.cat([z[:, None], y.expand(NODES, -1)], -1)
        log_p = bernoulli(network(model.decoder, joint), x) + standard.log_prob(z)
        log_p = log_p + log_softmax_of(model.prior["y"], y, 3)
        inner = (mass / mass.sum() * (log_p - log_q - log_y)).sum()
        bound = bound + log_y.exp() * inner
    parameters = [*model.parameters(), *guide.parameters()]
    objective = RLOO(model, guide, particles=4, signal="future")
    batch = Batch.of(x.expand(1000, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, gradient(bound, parameters), power=0.1)


@pytest.mark.parametrize(
    ("latents", "expected"),
    [
        ("gaussian", ("gaussian", "elbo")),
        ("bernoulli", ("factorised", "rloo")),
        ("categorical", ("factorised", "rloo")),
        ("mixed", ("factorised", "rloo")),
    ],
)
def test_companions_follow_the_kind_of_latents(latents, expected):
    config = resolve({"model": {"name": "vae", "latents": latents}})
    assert (config.guide.name, config.objective.name) == expected
    assert config.fit.lr == VAE.fit_defaults["lr"]


def test_what_needs_bits_is_refused_with_classes_before_anything_is_made():
    values = {"model": {"name": "vae", "latents": "categorical"}, "objective": {"name": "disarm"}}
    with pytest.raises(CompatibilityError, match="has categorical latents") as error:
        resolve(values)
    assert "VAE with latents=categorical needs binary latents" in str(error.value)
    assert "rloo" in str(error.value)
    model = VAE(INFOS["bernoulli"], latents="categorical")
    with pytest.raises(CompatibilityError, match="has categorical latents"):
        compat.check(model, Factorised(model), DisARM)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 5}, "classes is 5, but latents='gaussian' has none"),
        ({"latents": "bernoulli", "classes": 5}, "classes is 5, but latents='bernoulli' has none"),
        ({"prior": "learned"}, "first layer of the decoder"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        VAE(INFOS["bernoulli"], **options)


@pytest.mark.parametrize("options", [{"classes": 1}, {"latents": "softmax"}, {"latent_dim": 0}])
def test_values_that_are_not_possible_are_refused(options):
    values = {"model": {"name": "vae", "latents": "categorical", **options}}
    (name,) = options
    with pytest.raises(ConfigError, match=rf"model\.{name} = "):
        resolve(values)


def test_the_factorised_guide_must_know_the_classes():
    class Symbols(StepModel):
        """A symbol that does not say how many there are."""

        traits = ModelTraits("categorical", sequential=False)

        def __init__(self, info):
            super().__init__(info)
            self.history, self.latents = 0, {"z": Site(1, "categorical")}
            self.observed = {"x": info.dim}

        def step(self, draw, past, encoded, t):
            raise AssertionError

    with pytest.raises(CompatibilityError, match="does not say how many classes"):
        Factorised(Symbols(INFOS["bernoulli"]))
