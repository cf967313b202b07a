"""Divergences in variational form: their parts, their value, and their optimum."""

import math

import pytest
import torch
from torch.distributions import Normal

from pyrodgm.objectives.divergences import DIVERGENCES, LINEAR

F = {
    "kl": lambda u: u * u.log(),
    "reverse-kl": lambda u: -u.log(),
    "js": lambda u: 0.5 * (u * u.log() - (u + 1) * ((u + 1) / 2).log()),
    "pearson": lambda u: (u - 1) ** 2,
    "hellinger": lambda u: (u.sqrt() - 1) ** 2,
    "gan": lambda u: u * u.log() - (u + 1) * (u + 1).log(),
}
DATA = Normal(torch.tensor(0.5).double(), torch.tensor(0.9).double())
DRAWS = Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
GRID = torch.linspace(-12, 12, 20_001, dtype=torch.float64)


def variational(divergence, critic):
    """The variational value of a critic on a grid, by the trapezoid rule."""
    of_data, of_draws = (each.log_prob(GRID).exp() for each in (DATA, DRAWS))
    each = of_data * divergence.first(critic) - of_draws * divergence.second(critic)
    return torch.trapezoid(each, GRID)


@pytest.mark.parametrize("name", F)
def test_both_parts_are_those_of_f(name):
    """a(v) = f'(u), b(v) = u f'(u) - f(u), and b'(v) = u a'(v), with u = e^v."""
    divergence = DIVERGENCES[name]
    v = torch.linspace(-4, 4, 41, dtype=torch.float64, requires_grad=True)
    u = v.detach().exp().requires_grad_()
    f = F[name](u)
    (slope,) = torch.autograd.grad(f.sum(), u)
    torch.testing.assert_close(divergence.first(v), slope)
    torch.testing.assert_close(divergence.second(v), u * slope - f)
    by_first, by_second = (
        torch.autograd.grad(part(v).sum(), v)[0] for part in (divergence.first, divergence.second)
    )
    torch.testing.assert_close(by_second, u.detach() * by_first)
    assert (by_first > 0).all()
    assert (by_second > 0).all()


@pytest.mark.parametrize("name", F)
def test_the_value_at_the_log_ratio_is_the_divergence_and_no_critic_has_more(name):
    divergence = DIVERGENCES[name]
    ratio = DATA.log_prob(GRID) - DRAWS.log_prob(GRID)
    draws = DRAWS.log_prob(GRID).exp()
    exact = torch.trapezoid(draws * F[name](ratio.exp()), GRID)
    torch.testing.assert_close(variational(divergence, ratio), exact)
    for other in (0.9 * ratio, ratio + 0.1, ratio + 0.1 * GRID.sin()):
        assert variational(divergence, other) < exact


def test_values_that_are_known():
    """KL of two normal distributions, and what equal distributions have."""
    ratio = DATA.log_prob(GRID) - DRAWS.log_prob(GRID)
    for name, pair in (("kl", (DATA, DRAWS)), ("reverse-kl", (DRAWS, DATA))):
        kl = torch.distributions.kl_divergence(*pair)
        torch.testing.assert_close(variational(DIVERGENCES[name], ratio), kl)
    js = variational(DIVERGENCES["js"], ratio)
    torch.testing.assert_close(variational(DIVERGENCES["gan"], ratio), 2 * js - math.log(4))
    zero = torch.zeros(())
    for name, divergence in DIVERGENCES.items():
        at_equal = -math.log(4) if name == "gan" else 0.0
        assert float(divergence.value(zero, zero)) == pytest.approx(at_equal, abs=1e-6)
    assert float(LINEAR.value(zero + 3, zero + 1)) == 2


@pytest.mark.parametrize("name", F)
def test_far_values_are_finite_where_the_bound_is(name):
    """Where a part grows like an exponential it may be large, and is never NaN."""
    far = torch.tensor([-80.0, 80.0])
    for part in (DIVERGENCES[name].first, DIVERGENCES[name].second):
        assert not part(far).isnan().any()
