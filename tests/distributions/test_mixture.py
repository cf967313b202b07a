"""Mixtures of frames against torch's, and against sums over what was not seen."""

from __future__ import annotations

import pyro.distributions as dist
import torch

from oracles import all_paths, assert_mean
from pyrodgm.distributions import BernoulliVector, CountVector, Mixture, Partial

B, C, D = 4, 3, 2
WEIGHTS = torch.randn(B, C, generator=torch.Generator().manual_seed(1)).double()
OUTPUTS = all_paths(D, 1)[..., 0]


def normals() -> dist.Independent:
    return dist.Normal(torch.randn(C, D).double(), torch.rand(C, D).double() + 0.2).to_event(1)


def bits() -> BernoulliVector:
    return BernoulliVector(2 * torch.randn(C, D).double())


def test_log_prob_and_mean_are_those_of_torch() -> None:
    components, value = normals(), torch.randn(B, D).double()
    ours = Mixture(WEIGHTS, components)
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=WEIGHTS), components.expand(torch.Size([B, C]))
    )
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    torch.testing.assert_close(ours.mean, theirs.mean)


def test_bits_sum_to_one_over_all_outputs() -> None:
    total = Mixture(WEIGHTS, bits()).log_prob(OUTPUTS[:, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(B).double())


def test_features_seen_are_the_marginal() -> None:
    components = bits()
    law, seen = Mixture(WEIGHTS, components), torch.tensor([False, True])
    either = law.log_prob(torch.tensor([[0.0, 1.0], [1.0, 1.0]]).double()[:, None])
    told = Partial(law, seen).log_prob(torch.tensor([0.3, 1.0]).double())
    torch.testing.assert_close(told, either.logsumexp(0))


def test_normal_features_seen_are_the_marginal() -> None:
    components, value = normals(), torch.randn(B, D).double()
    seen = torch.tensor([True, False])
    first = dist.Normal(components.base_dist.loc[:, 0], components.base_dist.scale[:, 0])
    exact = (WEIGHTS.log_softmax(-1) + first.log_prob(value[:, :1])).logsumexp(-1)
    told = Partial(Mixture(WEIGHTS, components), seen).log_prob(value)
    torch.testing.assert_close(told, exact)


def test_nothing_seen_says_nothing_and_has_no_gradient() -> None:
    for components in (bits, lambda: CountVector(torch.randn(C, D).double(), 3)):
        weights, law = WEIGHTS.clone().requires_grad_(), components()
        law.logits.requires_grad_()
        nats = Mixture(weights, law).log_prob_seen(
            torch.ones(B, D).double(), torch.zeros(B, D, dtype=torch.bool)
        )
        nats.sum().backward()
        torch.testing.assert_close(nats, torch.zeros(B).double())
        torch.testing.assert_close(weights.grad, torch.zeros_like(weights), atol=1e-12, rtol=0)
        assert law.logits.grad.eq(0).all()


def test_draws_follow_it() -> None:
    """Features of one draw come from one component."""
    law = Mixture(WEIGHTS, bits())
    draws = law.sample(torch.Size([100_000]))
    assert draws.shape == (100_000, B, D)
    kind = (draws @ torch.tensor([2.0, 1.0]).double()).long()
    exact = law.log_prob(OUTPUTS[:, None]).exp().T
    assert_mean(torch.nn.functional.one_hot(kind, 4).double(), exact)


def test_expand() -> None:
    law, value = Mixture(WEIGHTS, normals()), torch.randn(B, D).double()
    wide = law.expand(torch.Size([5, B]))
    assert (wide.batch_shape, wide.event_shape) == ((5, B), (D,))
    torch.testing.assert_close(wide.log_prob(value), law.log_prob(value).expand(5, B))
    assert wide.sample().shape == (5, B, D)
