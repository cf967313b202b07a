"""One-hot vectors against torch's own distribution, and their draws against the probabilities."""

import pytest
import torch
from rows import one_hots

from oracles import assert_mean
from pyrodgm.distributions import OneHotVector
from pyrodgm.engine.sites import Site
from pyrodgm.errors import UsageError

LOGITS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()


def test_log_probabilities_are_those_of_independent_variables():
    own, value = OneHotVector(LOGITS, 3), one_hots(2, 3)
    parts = [torch.distributions.OneHotCategorical(logits=part) for part in LOGITS.split(3, -1)]
    expected = sum(
        part.log_prob(z[:, None]) for part, z in zip(parts, value.split(3, -1), strict=True)
    )
    found = own.log_prob(value[:, None])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.exp().sum(0), torch.ones(4).double())
    torch.testing.assert_close(own.entropy(), sum(part.entropy() for part in parts))
    torch.testing.assert_close(own.mean, torch.cat([part.probs for part in parts], -1))


def test_draws_have_the_probabilities():
    torch.manual_seed(0)
    own = OneHotVector(LOGITS, 3)
    drawn = own.sample(torch.Size([20_000]))
    assert bool((drawn.unflatten(-1, (2, 3)).sum(-1) == 1).all())
    assert_mean(drawn, own.probs)
    pairs = (drawn[..., :3, None] * drawn[..., None, 3:]).flatten(-2)
    expected = (own.probs[..., :3, None] * own.probs[..., None, 3:]).flatten(-2)
    assert_mean(pairs, expected, power=0.1)  # of independent variables


def test_shapes_follow_the_batch():
    own = OneHotVector(LOGITS, 3)
    assert own.expand(torch.Size([5, 4])).sample().shape == (5, 4, 6)
    whole = OneHotVector.over_time([own, own])
    assert (whole.batch_shape, whole.event_shape) == ((4, 2), (6,))


def test_noise_is_finite_and_large_logits_are_certain(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "exponential_", torch.Tensor.zero_)
    assert bool(OneHotVector(LOGITS, 3).noise(torch.Size([4, 6])).isfinite().all())
    certain = OneHotVector(torch.tensor([0.0, 800.0, 0.0]), 3)
    torch.testing.assert_close(certain.log_prob(torch.tensor([0.0, 1.0, 0.0])), torch.tensor(0.0))
    assert float(certain.entropy()) == 0


@pytest.mark.parametrize(
    ("dim", "kind", "classes"), [(6, "binary", 3), (6, "categorical", 1), (7, "categorical", 3)]
)
def test_sites_with_impossible_classes_are_refused(dim, kind, classes):
    with pytest.raises(UsageError, match=f"a {kind} site of {dim} numbers has classes={classes}"):
        Site(dim, kind, classes=classes)
