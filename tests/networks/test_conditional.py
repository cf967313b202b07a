"""Conditional distributions: values and gradients against torch, and draws from noise."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal

from oracles import assert_mean
from pyrodgm.engine.sampler import Sampler
from pyrodgm.networks.conditional import (
    LEAST_SCALE,
    MOST_SCALE,
    Bits,
    Categories,
    Conditional,
    Normals,
    normal_conditional,
)
from pyrodgm.networks.emissions import make_emission
from variants import EMISSIONS, INFOS, D, frames

V, J, H = 5, 3, 4


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def hidden(model, features):
    return model.last(model.first(features).relu())


@pytest.mark.parametrize("scale", ["softplus", "bounded"])
def test_normal_numbers_and_their_gradients_are_those_of_torch(scale):
    features, z = torch.randn(7, V), torch.randn(7, J)
    model = Conditional(V, Normals(J, scale), H)
    mean, raw = hidden(model, features).chunk(2, -1)
    s = (
        torch.nn.functional.softplus(raw)
        if scale == "softplus"
        else (torch.exp(-raw) + 0.25) ** -0.5
    )
    theirs = Normal(mean, s + LEAST_SCALE).log_prob(z).sum(-1)
    ours = model(features).log_prob(z)
    torch.testing.assert_close(ours, theirs)
    weights = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(ours.sum(), weights, retain_graph=True),
        torch.autograd.grad(theirs.sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_draws_from_noise_are_those_of_torch_with_their_gradients():
    features, noise = torch.randn(7, V), torch.randn(7, J)
    model = normal_conditional(V, J, H)
    drawn = model(features).from_noise(noise)
    mean, raw = hidden(model, features).chunk(2, -1)
    scale = torch.nn.functional.softplus(raw) + LEAST_SCALE
    torch.testing.assert_close(drawn, mean + scale * noise)
    weights = list(model.parameters())
    one = torch.autograd.grad(drawn.square().sum(), weights)
    other = torch.autograd.grad((mean + scale * noise).square().sum(), weights)
    for ours, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_sampler_draws_normal_sites_from_noise_made_ahead():
    distribution = normal_conditional(V, J, H)(torch.randn(V))
    sampler = Sampler(torch.Size([20_000]), 2, keep_noise=True)
    values = [sampler(t, "z", distribution) for t in range(2)]
    assert sampler.noise["z"].shape == (20_000, 2, J)
    assert all(value.requires_grad for value in values)
    for t, value in enumerate(values):
        made = distribution.mean + distribution.scale * sampler.noise["z"][:, t]
        torch.testing.assert_close(value, made)
    noise = 2 + sampler.noise["z"][:, 0]  # away from zero, where a relative error has no meaning
    assert_mean(noise, torch.full((J,), 2.0))


def test_bits_and_symbols_are_those_of_torch():
    features = torch.randn(7, V)
    bits, z = Conditional(V, Bits(J), H), torch.rand(7, J).round()
    theirs = Bernoulli(logits=hidden(bits, features)).log_prob(z).sum(-1)
    torch.testing.assert_close(bits(features).log_prob(z), theirs)
    symbols, y = Conditional(V, Categories(J, 4), H), torch.randint(4, (7, J)).double()
    theirs = Categorical(logits=hidden(symbols, features).unflatten(-1, (J, 4))).log_prob(y).sum(-1)
    torch.testing.assert_close(symbols(features).log_prob(y), theirs)


@pytest.mark.parametrize("emission", EMISSIONS)
def test_emissions_are_families_too(emission):
    family = make_emission(emission, INFOS[emission])
    start = family.start(INFOS[emission])
    model = Conditional(V, family, H, start=start)
    found = model(torch.randn(7, V))
    assert found.event_shape == (D,)
    assert found.log_prob(frames(emission, 7)).isfinite().all()
    assert torch.equal(model.last.bias, start)


def test_what_starts_near_the_standard_distribution():
    for scale in ("softplus", "bounded"):
        found = Normals(J, scale)(Normals(J, scale).start())
        torch.testing.assert_close(
            found.scale, torch.full((J,), 1 + LEAST_SCALE), atol=1e-6, rtol=0
        )
        assert found.loc.eq(0).all()
    assert Bits(J)(Bits(J).start()).mean.eq(0.5).all()
    uniform = Categories(J, 4)(Categories(J, 4).start()).log_prob(torch.zeros(J))
    assert uniform.exp() == pytest.approx(4.0**-J)


def test_bounded_scales_stay_within_their_bounds():
    scale = Normals(1, "bounded")(torch.tensor([[0.0, -1e3], [0.0, 1e3]])).scale
    assert scale.flatten().tolist() == pytest.approx([LEAST_SCALE, MOST_SCALE + LEAST_SCALE])
