"""Deep latent Gaussian models: their formulas, and a linear chain of layers in closed form."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from rows import network

from oracles import ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.terms import terms
from pyrodgm.guides import DiagonalNormal, LayeredNormal
from pyrodgm.models import DLGM
from pyrodgm.networks.conditional import normal_conditional
from variants import INFOS, WITH_CONDITIONS, conditions, frames, path_log_probs, randomised

STANDARD = DataInfo("rows", "real", 2, (0.0, 0.0), 1.0, 1, (1.0, 1.0))


def made(guide=LayeredNormal, emission="bernoulli", latent_dim=(3, 2, 1), std=0.5, **facts):
    info = replace(INFOS[emission], **facts)
    model = DLGM(info, latent_dim=latent_dim, hidden_dim=(4, 3), emission=emission)
    return randomised(model, std), randomised(guide(model, hidden_dim=(3, 4)), std)


def normal(conditional, *features):
    """The normal distribution that a network of two hidden layers gives, by hand."""
    mean, raw = network(conditional, torch.cat(features, -1)).chunk(2, -1)
    return torch.distributions.Normal(mean, F.softplus(raw) + 1e-3)


@pytest.mark.parametrize("guide", [LayeredNormal, DiagonalNormal])
def test_log_probabilities_are_those_of_the_formulas(guide):
    torch.manual_seed(0)
    given, seen = conditions(5, 1)
    model, guide = made(guide, **WITH_CONDITIONS)
    found = terms(model, guide, Batch.of(frames("bernoulli", 5, 1), given), 3)
    z, seen = found.values, seen.expand(3, -1, -1, -1)
    x = found.x.expand(3, -1, -1, -1)
    assert list(z) == ["z1", "z2", "z3"]
    standard = torch.distributions.Normal(torch.zeros(1).double(), 1.0)
    torch.testing.assert_close(found.p["z3"], standard.log_prob(z["z3"]).sum(-1))
    for number, prior in enumerate(model.priors, start=1):
        own, above = f"z{number}", z[f"z{number + 1}"]
        exact = normal(prior, above, seen).log_prob(z[own]).sum(-1)
        torch.testing.assert_close(found.p[own], exact)
    layered = isinstance(guide, LayeredNormal)
    for (name, posterior), below in zip(
        guide.posteriors.items(), [x, z["z1"], z["z2"]], strict=True
    ):
        exact = normal(posterior, below if layered else x, seen).log_prob(z[name]).sum(-1)
        torch.testing.assert_close(found.q[name], exact)


@pytest.mark.parametrize("emission", ["bernoulli", "gaussian"])
def test_both_executions_agree(emission):
    torch.manual_seed(1)
    model, guide = made(emission=emission)
    mask = torch.arange(3) < torch.tensor([3, 1])[:, None]
    batch = Batch(frames(emission, 2, 3) * mask[..., None], mask, torch.arange(2))
    found = terms(model, guide, batch, 4)
    for program, expected in ((model, found.p), (guide, found.q)):
        for fused in (True, False):
            nats = path_log_probs(program, batch, found.values, fused=fused)
            for name, each in nats.items():
                torch.testing.assert_close(each, expected[name])


def set_linear(network, weight, centre, raw):
    """Make the means of a network W v + c and its other numbers constant.

    Args:
        network: with 2 E units in a single hidden layer, of features (..., E).
        weight: W, (D, E).
        centre: c, (D,).
        raw: the other numbers, (D,).
    """
    both = torch.eye(weight.shape[1]).double()
    with torch.no_grad():
        network.first.weight.copy_(torch.cat([both, -both]))
        network.first.bias.zero_()
        network.last.weight.zero_()
        network.last.weight[: len(weight)] = torch.cat([weight, -weight], -1)
        network.last.bias.copy_(torch.cat([centre, raw]))


def before_softplus(scale):
    return torch.as_tensor(scale - 1e-3, dtype=torch.float64).expm1().log().reshape(1)


def linear_chain():
    """x = w z1 + c + s e and z1 = a z2 + r e', with its exact posterior as a guide.

    Returns:
        Model and guide, W of the same model with a single standard normal latent, c and s.
    """
    w, c = torch.tensor([[0.8], [-0.5]]).double(), torch.tensor([0.2, -0.1]).double()
    a, r, log_variance, zero = 0.9, 0.6, -0.7, torch.zeros(1).double()
    model = DLGM(STANDARD, latent_dim=(1, 1), hidden_dim=2, leak=0, emission="gaussian")
    model = model.double()
    set_linear(model.decoder, w, c, torch.full((2,), log_variance).double())
    set_linear(model.priors[0], torch.tensor([[a]]).double(), zero, before_softplus(r))
    s2 = (torch.tensor(log_variance).double().neg().exp() + 0.25) ** -0.5 + 1e-3
    s2, v = float(s2**2), a**2 + r**2  # of an observation given z1, and of z1
    precision = 1 / v + float(w.square().sum()) / s2
    gain = w.T / (s2 * precision)
    guide = LayeredNormal(model, hidden_dim=(4,), leak=0).double()
    set_linear(guide.posteriors["z1"], gain, -gain @ c, before_softplus(precision**-0.5))
    guide.posteriors["z2"] = normal_conditional(1, 1, 2).double()
    slope = torch.tensor([[a / v]]).double()
    set_linear(guide.posteriors["z2"], slope, zero, before_softplus(r / v**0.5))
    return model, guide, w * v**0.5, c, s2**0.5


def test_the_exact_posterior_of_a_linear_chain_has_the_weights_of_probabilistic_pca():
    torch.manual_seed(2)
    model, guide, weight, centre, scale = linear_chain()
    x = torch.randn(5, 1, 2).double()
    found = terms(model, guide, Batch.of(x), 7)
    exact = ppca_log_prob(weight, centre, scale, x[:, 0])
    torch.testing.assert_close(found.log_w[..., 0], exact.expand(7, -1))


def test_default_sizes_shrink_from_layer_to_layer():
    model = DLGM(DataInfo("rows", "binary", 784, (0.5,) * 784, 1.0, 1), hidden_dim=2)
    assert {name: site.dim for name, site in model.latents.items()} == {"z1": 20, "z2": 10}
