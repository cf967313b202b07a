"""Divergences in closed form against those of torch, and what has none."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import kl_divergence

from pyrodgm.distributions import (
    BernoulliVector,
    NormalVector,
    OneHotVector,
    divergence,
)
from pyrodgm.errors import CompatibilityError


def test_divergences_are_those_of_torch():
    torch.manual_seed(0)
    one, two = torch.randn(2, 5, 6).double()
    found = divergence(NormalVector(one, two.exp()), NormalVector(two, one.exp()))
    expected = kl_divergence(dist.Normal(one, two.exp()), dist.Normal(two, one.exp())).sum(-1)
    torch.testing.assert_close(found, expected)
    normal = dist.Normal(two, one.exp()).to_event(1)
    torch.testing.assert_close(divergence(NormalVector(one, two.exp()), normal), expected)
    found = divergence(BernoulliVector(logits=one), BernoulliVector(logits=two))
    bits = kl_divergence(dist.Bernoulli(logits=one), dist.Bernoulli(logits=two)).sum(-1)
    torch.testing.assert_close(found, bits)
    found = divergence(OneHotVector(one, 3), OneHotVector(two, 3))
    rows = (dist.Categorical(logits=each.unflatten(-1, (2, 3))) for each in (one, two))
    torch.testing.assert_close(found, kl_divergence(*rows).sum(-1))


def test_bits_that_are_all_but_certain_have_finite_gradients():
    q = torch.tensor([80.0, -80.0], requires_grad=True)
    found = divergence(BernoulliVector(logits=q), BernoulliVector(logits=torch.zeros(2)))
    (gradient,) = torch.autograd.grad(found, q)
    torch.testing.assert_close(found, torch.tensor(2.0).log() * 2)
    assert gradient.isfinite().all()


def test_what_has_no_closed_form_is_refused():
    one = torch.zeros(2)
    with pytest.raises(CompatibilityError, match="no closed form"):
        divergence(dist.Poisson(one + 1).to_event(1), NormalVector(one, one + 1))


def test_half_precision_is_summed_in_single():
    one, two = torch.randn(2, 5, 600).bfloat16()
    made = [
        lambda a, b: NormalVector(a, b.exp()),
        lambda a, _: BernoulliVector(logits=a),
        lambda a, _: OneHotVector(a, 3),
    ]
    for make in made:
        exact = divergence(make(one.double(), two.double()), make(two.double(), one.double()))
        found = divergence(make(one, two), make(two, one))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, rtol=0.01, atol=0.0)
