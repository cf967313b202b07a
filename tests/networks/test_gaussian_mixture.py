"""Mixtures of normal components against sums over components."""

import pytest
import torch
from torch.distributions import Normal

from oracles import assert_mean
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import partial
from pyrodgm.errors import ConfigError
from pyrodgm.models import VRNN
from pyrodgm.networks.emissions import Gaussian, GaussianMixture, make_emission

D, C = 3, 4
INFO = DataInfo("tiny", "real", D, (0.3, 5.0, -0.7), 4.0, 5, (0.5, 2.0, 0.1))


def test_its_log_probability_is_that_of_the_sum_over_components():
    """Of all features, and of those that are seen."""
    torch.manual_seed(0)
    emission = make_emission(f"gaussian-mixture:{C}", INFO)
    assert emission.size == C * (1 + 2 * D)
    numbers, x = torch.randn(5, 2, emission.size), torch.randn(5, 2, D)
    weights, rest = numbers[..., :C].softmax(-1), numbers[..., C:].unflatten(-1, (C, 2 * D))
    each = [Gaussian(INFO)(rest[..., c, :]) for c in range(C)]
    nats = torch.stack([Normal(one.loc, one.scale).log_prob(x) for one in each])
    seen = torch.rand(5, 2, D) > 0.4
    for distribution, counted in (
        (emission(numbers), torch.ones_like(seen)),
        (partial(emission(numbers), seen), seen),
    ):
        joint = (nats * counted).sum(-1) + weights.log().movedim(-1, 0)
        torch.testing.assert_close(distribution.log_prob(x), joint.logsumexp(0))


def test_its_draws_have_the_moments_of_the_mixture():
    torch.manual_seed(1)
    emission = GaussianMixture(INFO, C)
    numbers = torch.randn(emission.size)
    weights, rest = numbers[:C].softmax(-1), numbers[C:].unflatten(-1, (C, 2 * D))
    each = Gaussian(INFO)(rest)
    mean = weights @ each.loc
    torch.testing.assert_close(emission(numbers).mean, mean)
    draws = emission(numbers).sample(torch.Size([40_000])).double()
    second = weights @ (each.scale.square() + (each.loc - mean).square())
    assert_mean(2 + (draws - mean) / second.sqrt(), torch.full((D,), 2.0).double())
    assert_mean((draws - mean).square(), second.double())


def test_a_single_component_is_the_gaussian_emission():
    one, gaussian = make_emission("gaussian-mixture:1", INFO), Gaussian(INFO)
    start, x = gaussian.start(INFO), torch.randn(7, D)
    torch.testing.assert_close(one.start(INFO)[1:], start)
    torch.testing.assert_close(one(one.start(INFO)).log_prob(x), gaussian(start).log_prob(x))


@pytest.mark.parametrize("name", ["gaussian-mixture:0", "gaussian-mixture:", "gaussian:3"])
def test_a_number_of_components_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="emission"):
        VRNN(INFO, emission=name)
