"""Guides that are models: their draws have their density, and they learn from given draws."""

import math

import numpy as np
import pyro
import pytest
import torch
from scipy.stats import chi2
from torch import nn

from oracles import FALSE_POSITIVE_RATE, all_paths, assert_mean, gradient
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import CompatibilityError, ConfigError, DataError
from pyrodgm.guides import GUIDES, GeneratorGuide, NADEGuide, RNNGuide, RNNNADEGuide, VAEGuide
from pyrodgm.models.energy import EnergyModel
from pyrodgm.schema import schema
from variants import randomised

BITS = DataInfo("bits", "binary", 3, (0.5, 0.2, 0.9), 2.0, 2)
REAL = DataInfo("real", "real", 2, (3.0, -1.0), 1.0, 1, std=(2.0, 0.5), centre=(3.0, -1.0))


class Flat(EnergyModel):
    """A model of any data."""

    def potential(self, x, batch):
        return x.sum(-1) * 0


def unseen(dim, rows, *, long=1):
    """Sequences of so many frames and of one, with observations that must not matter."""
    mask = (torch.arange(long) < torch.tensor([long, 1])[:, None]).repeat(rows, 1)
    x = torch.full((2 * rows, long, dim), 0.25).double().masked_fill(~mask[..., None], 0.0)
    return Batch(x, mask, torch.arange(2 * rows))


def made(name, info=BITS, **options):
    sizes = {"nade": {"hidden_dim": 4}, "rnn": {"hidden_dim": 4}, "vae": {"hidden_dim": (6,)}}
    sizes["rnn-nade"] = {"hidden_dim": 4, "nade_dim": 3}
    sizes["generator"] = {"hidden_dim": (6,)}
    guide = GUIDES[name](Flat(info), **sizes[name], **options).double()
    randomised(guide.program, std=0.3 if name == "vae" else 0.7)
    return guide


@pytest.fixture
def params():
    """Pyro's store, which is emptied."""
    yield pyro.get_param_store()
    pyro.clear_param_store()


@pytest.mark.parametrize("name", ["nade", "rnn", "rnn-nade"])
def test_draws_have_the_stated_density(name):
    """Sequences of two frames of three bits: all 64 of them, by a chi-squared test."""
    torch.manual_seed(0)
    guide, batch = made(name), unseen(3, 3000, long=2)
    x = guide.draw(batch).double()
    assert not x.requires_grad
    assert (x[~batch.mask] == 0).all()
    states = all_paths(2, 3)
    whole = Batch.of(torch.zeros(1, 2, 3).double())
    nats = guide.log_prob(states[:, None], whole).sum(-1)[:, 0].detach()
    torch.testing.assert_close(nats.exp().sum(), torch.tensor(1.0).double())
    long = x[batch.mask[:, 1]].flatten(1)
    counts = (long[:, None] == states.flatten(1)).all(-1).double().sum(0)
    expected = nats.exp() * len(long)
    often = expected > 5
    rest = torch.stack([counts[~often].sum(), expected[~often].sum()])
    pairs = torch.cat([torch.stack([counts, expected])[:, often], rest[:, None]], 1)
    statistic = float(((pairs[0] - pairs[1]).square() / pairs[1].clamp(min=1e-9)).sum())
    assert statistic < chi2.isf(FALSE_POSITIVE_RATE, int(often.sum()))
    assert int(often.sum()) > 8


def test_padding_has_no_density():
    guide, batch = made("rnn"), unseen(3, 2, long=2)
    nats = guide.log_prob(torch.zeros(4, 2, 3).double(), batch)
    assert (nats[~batch.mask] == 0).all()
    assert (nats[batch.mask] < 0).all()


@pytest.mark.usefixtures("params")
def test_given_draws_teach_by_maximum_likelihood():
    """The gradient of log q at given rows is that of the model on these rows."""
    guide = made("nade")
    rows = all_paths(1, 3)
    given = guide.log_prob(rows, Batch.of(torch.zeros_like(rows))).sum()
    trace = pyro.poutine.trace(guide.program).get_trace(Batch.of(rows))
    trace.compute_log_prob()
    own = trace.nodes["x"]["log_prob"].sum()
    parameters = list(guide.parameters())
    torch.testing.assert_close(gradient(given, parameters), gradient(own, parameters))


def test_the_weights_of_a_vae_are_without_bias_and_its_bound_is_below():
    """E exp(phi - log q(x, h) / r(h | x)) is the normaliser of phi, summed over 8 states."""
    torch.manual_seed(1)
    guide = made("vae")
    randomised(guide.recognition, std=0.1)
    a = torch.tensor([0.4, -0.3, 0.2]).double()
    x, log_q = guide.weighted(Batch.of(torch.zeros(100_000, 1, 3).double()))
    z = (all_paths(1, 3).squeeze(1) @ a).exp().sum()
    assert_mean((x @ a - log_q).exp()[:, 0], z)
    states = all_paths(1, 3)
    where = Batch.of(torch.zeros_like(states))
    with torch.no_grad():
        bounds = torch.stack([guide.log_prob(states, where) for _ in range(2000)]).squeeze(-1)
    exact = bounds.logsumexp(0) - math.log(2000)  # many draws of h, importance-weighted
    assert (bounds.mean(0) < exact).all()
    torch.testing.assert_close(exact.exp().sum(), torch.tensor(1.0).double(), atol=0.05, rtol=0)


@pytest.mark.parametrize("info", [BITS, REAL], ids=["bits", "real"])
def test_the_joint_density_of_a_generator(info):
    """A linear generator: normal or Bernoulli given its noise, times the standard normal."""
    guide = linear(info).double()
    batch = Batch.of(torch.zeros(5, 1, info.dim).double())
    x, h = guide.joint(batch)
    assert x.requires_grad == (info.kind == "real")
    numbers = guide.program.computed(h, batch)
    if info.kind == "real":
        std = guide.output_std * torch.tensor(info.std).double()
        own = torch.distributions.Normal(numbers, std).log_prob(x).sum(-1)
    else:
        own = torch.distributions.Bernoulli(logits=numbers).log_prob(x).sum(-1)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(h).sum(-1)
    torch.testing.assert_close(guide.log_joint(x, h, batch), own + prior)


def linear(info, **options):
    """A generator of one linear layer."""
    guide = GeneratorGuide(Flat(info), noise_dim=2, output_std=0.3, **options)
    guide.program.network = randomised(nn.Sequential(nn.Linear(2, info.dim)), std=0.8)
    return guide


def test_draws_of_a_linear_generator_have_its_moments():
    torch.manual_seed(2)
    guide = linear(REAL).double()
    x = guide.draw(Batch.of(torch.zeros(40_000, 1, 2).double()))[:, 0]
    scale = torch.tensor(REAL.std).double()
    weight = scale[:, None] * guide.program.network[0].weight
    centred = x - guide.program.mean - scale * guide.program.network[0].bias
    covariance = weight @ weight.T + torch.diag((0.3 * scale).square())
    assert_mean((centred[:, :, None] * centred[:, None]).detach(), covariance.detach())


@pytest.mark.usefixtures("params")
@pytest.mark.parametrize("name", ["nade", "rnn-nade", "vae", "generator"])
def test_pyro_sees_one_site_in_the_shape_of_the_batch(name):
    guide, batch = made(name), unseen(3, 2)
    trace = pyro.poutine.trace(guide).get_trace(batch)
    assert trace.stochastic_nodes[-1] == "x"
    assert trace.nodes["x"]["value"].shape == (4, 1, 3)
    assert sum(node["type"] == "param" for node in trace.nodes.values()) > 2
    if guide.traits.has_density:
        trace.compute_log_prob()
        own = guide.log_prob(trace.nodes["x"]["value"], batch)
        torch.testing.assert_close(trace.nodes["x"]["log_prob"], own)


def test_options_are_those_of_the_model():
    own = schema(GUIDES["generator"])
    assert {"noise_dim", "hidden_dim", "batch_norm", "output_std"} <= own.keys()
    assert schema(NADEGuide).keys() == {"hidden_dim", "order_seed"}
    with pytest.raises(ConfigError, match="hidden_dim"):
        NADEGuide(Flat(BITS), hidden_dim=0)


def test_what_these_guides_cannot_do_is_refused():
    with pytest.raises(DataError, match="real"):
        NADEGuide(Flat(REAL))
    with pytest.raises(CompatibilityError, match="normal latents"):
        VAEGuide(Flat(BITS), latents="bernoulli")
    with pytest.raises(CompatibilityError, match=r"guide\.latent_dim"):
        GeneratorGuide(Flat(BITS), latent_dim=2)
    batch = unseen(3, 1)
    with pytest.raises(CompatibilityError, match="has no density"):
        made("generator").log_prob(batch.x, batch)


def test_batch_normalisation_uses_the_batch_in_training_and_averages_afterwards():
    torch.manual_seed(3)
    guide = GeneratorGuide(Flat(REAL), hidden_dim=(8, 8), batch_norm=True).double()
    norm = guide.program.network[1]
    seen = []
    norm.register_forward_hook(lambda *found: seen.append(found[2].detach()))
    guide.draw(unseen(2, 400))
    torch.testing.assert_close(
        seen[0].flatten(0, 1).mean(0), torch.zeros(8).double(), atol=1e-5, rtol=0.0
    )
    assert norm.running_mean.abs().max() > 0
    before = norm.running_mean.clone()
    guide.draw(Batch.of(torch.zeros(1, 1, 2).double()))  # a single row has no variance
    guide.eval().draw(unseen(2, 4))
    assert torch.equal(norm.running_mean, before)


def test_recurrent_guides_of_real_numbers_score_frames_given_those_before():
    guide = made("rnn", REAL)
    batch = unseen(2, 2, long=3)
    x = guide.draw(batch)
    other = x.clone()
    other[:, 2] += 1.0
    same = guide.log_prob(torch.stack([x, other]), batch).detach()
    assert torch.equal(same[0, :, :2], same[1, :, :2])
    assert not np.allclose(same[0, ::2, 2], same[1, ::2, 2])
    assert isinstance(guide, RNNGuide)
    assert isinstance(made("rnn-nade"), RNNNADEGuide)
