"""The variational autoencoder: its formulas, both executions, and the gradient of its bound."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from rows import network

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import score
from pyrodgm.engine.terms import terms
from pyrodgm.guides import DiagonalNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import ELBO, PCD
from pyrodgm.setup.config import resolve, with_defaults
from variants import INFOS, WITH_CONDITIONS, assert_terms_agree, conditions, frames, randomised

STEPS, EDGE = 800, 14.0  # of the grid on which the latent number is integrated out


def made(emission="bernoulli", std=0.5, latent_dim=2, hidden_dim=(4, 3), **facts):
    info = replace(INFOS[emission], **facts)
    sizes = {"latent_dim": latent_dim, "hidden_dim": hidden_dim}
    model = randomised(VAE(info, **sizes, emission=emission), std)
    return model, randomised(DiagonalNormal(model, hidden_dim=(3, 4)), std)


def test_log_probabilities_are_those_of_the_formulas():
    torch.manual_seed(0)
    given, seen = conditions(5, 1)
    model, guide = made(**WITH_CONDITIONS)
    batch = Batch.of(frames("bernoulli", 5, 1), given)
    found = terms(model, guide, batch, 3)
    z = found.values["z"]
    standard = torch.distributions.Normal(torch.zeros(2).double(), 1.0)
    torch.testing.assert_close(found.p["z"], standard.log_prob(z).sum(-1))
    logits = network(model.decoder, torch.cat([z, seen.expand(3, -1, -1, -1)], -1))
    x = batch.x.expand_as(logits)
    each = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    torch.testing.assert_close(found.p["x"], -each.sum(-1))
    mean, raw = network(guide.posteriors["z"], torch.cat([batch.x, seen], -1)).chunk(2, -1)
    q = torch.distributions.Normal(mean, F.softplus(raw) + 1e-3)
    torch.testing.assert_close(found.q["z"], q.log_prob(z).sum(-1))
    assert list(found.path) == ["z"]


@pytest.mark.parametrize("emission", ["bernoulli", "gaussian", "categorical", "multinomial"])
def test_both_executions_agree(emission):
    torch.manual_seed(1)
    model, guide = made(emission)
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    batch = Batch(frames(emission, 2, 3) * mask[..., None], mask, torch.arange(2))
    found = terms(model, guide, batch, 4)
    assert_terms_agree(model, guide, batch, found)


def test_the_gradient_is_that_of_the_bound_by_quadrature():
    torch.manual_seed(2)
    model, guide = made(std=0.3, latent_dim=1)
    for part in (model.decoder, guide.posteriors["z"]):
        for layer in (part.first, part.between[0]):
            torch.nn.init.constant_(layer.bias, 3.0)  # away from the kink
        torch.nn.init.normal_(part.last.weight, std=0.05)
    x = frames("bernoulli", 1)
    points = torch.linspace(-EDGE, EDGE, STEPS, dtype=torch.float64)
    values, batch = {"z": points.reshape(-1, 1, 1, 1)}, Batch.of(x[None])
    log_p = sum(score(model, batch, values).values()).flatten()
    log_q = score(guide, batch, values)["z"].flatten()
    mass = (log_q + (points[1] - points[0]).log()).exp()
    torch.testing.assert_close(mass.sum(), torch.ones(()).double(), rtol=0, atol=1e-6)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient((mass * (log_p - log_q)).sum(), parameters)
    many = Batch.of(x.expand(400, 1, -1))
    objective = ELBO(model, guide)
    samples = sample_gradients(lambda: -objective(many).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


@pytest.mark.parametrize(("dim", "expected"), [(4, 2), (5, 3), (784, 20)])
def test_latents_are_half_of_the_features_and_at_most_twenty(dim, expected):
    model = VAE(DataInfo("rows", "binary", dim, (0.5,) * dim, 1.0, 1), hidden_dim=2)
    assert model.latents["z"].dim == expected


def test_options_of_training_are_the_models_unless_given():
    fit = resolve({"model": {"name": "vae"}, "fit": {"batch_size": 5}}).fit
    assert (fit.lr, fit.batch_size) == (VAE.fit_defaults["lr"], 5)
    assert with_defaults(VAE, PCD, {})["batch_size"] == PCD.fit_defaults["batch_size"]
