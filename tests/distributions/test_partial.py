"""Vectors of which some features are missing."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from oracles import all_paths
from pyrodgm.distributions import BernoulliVector, Partial, partial
from pyrodgm.errors import CompatibilityError

D = 3


def test_bits_seen_are_the_marginal() -> None:
    law, seen = BernoulliVector(torch.randn(D).double()), torch.tensor([True, False, True])
    outputs = all_paths(D, 1)[..., 0]
    told = Partial(law, seen).log_prob(outputs)
    for value, nats in zip(outputs, told, strict=True):
        agree = (outputs[:, seen] == value[seen]).all(-1)
        torch.testing.assert_close(nats, law.log_prob(outputs[agree]).logsumexp(0))


def test_independent_features_are_summed_over_those_seen() -> None:
    loc, value = torch.randn(5, 1, D).double(), torch.randn(2, D).double()
    seen = torch.tensor([[True, True, False], [False, False, False]])
    law = Partial(dist.Normal(loc, 0.7).to_event(1), seen)
    assert (law.batch_shape, law.event_shape) == ((5, 2), (D,))
    first = dist.Normal(loc[..., :2], 0.7).log_prob(value[0, :2]).sum(-1)
    torch.testing.assert_close(law.log_prob(value), torch.cat([first, 0 * first], -1))


@pytest.mark.parametrize(
    "family",
    [BernoulliVector, lambda x: dist.Normal(x, x.exp()).to_event(1)],
    ids=["bits", "numbers"],
)
def test_nothing_seen_says_nothing_and_has_no_gradient(family) -> None:
    x = torch.randn(2, D).double().requires_grad_()
    seen = torch.tensor([[False] * D, [True] * D])
    nats = Partial(family(x), seen).log_prob(torch.ones(2, D).double())
    nats.sum().backward()
    assert nats[0] == 0
    assert x.grad[0].eq(0).all()
    assert x.grad[1].ne(0).all()


def test_draws_are_whole_vectors_over_the_batch_of_both() -> None:
    loc = torch.zeros(D, requires_grad=True)
    law = Partial(dist.Normal(loc, 1.0).to_event(1), torch.ones(4, D, dtype=torch.bool))
    assert law.sample().shape == (4, D)
    assert law().requires_grad  # as Pyro calls it
    assert not Partial(BernoulliVector(loc), torch.ones(4, D, dtype=torch.bool))().requires_grad
    assert law.expand(torch.Size([2, 4])).sample(torch.Size([5])).shape == (5, 2, 4, D)


def test_without_a_mask_it_is_the_law_itself() -> None:
    law = BernoulliVector(torch.zeros(D))
    assert partial(law, None) is law


def test_a_law_that_cannot_leave_features_out_is_named() -> None:
    whole = dist.MultivariateNormal(torch.zeros(D), torch.eye(D))
    with pytest.raises(CompatibilityError, match="MultivariateNormal cannot score a frame"):
        partial(whole, torch.ones(D, dtype=torch.bool)).log_prob(torch.zeros(D))
