import pytest
import torch

from pyrodgm.distributions import NADE, BernoulliVector, CountVector, NormalVector
from pyrodgm.distributions.dot import dot

D = 900


def laws():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 7, D, generator=generator)
    bits = (torch.rand(7, D, generator=generator) < 0.5).float()
    weights = 0.1 * torch.randn(2, D, 5, generator=generator)
    return {
        "bits": (BernoulliVector(a), bits),
        "normal": (NormalVector(a, b.exp()), b),
        "counts": (CountVector(a, 100), (3 * bits)),
        "nade": (NADE(a, torch.zeros(7, 5), *weights), bits),
    }


@pytest.mark.parametrize("name", ["bits", "normal", "counts", "nade"])
def test_autocast_does_not_round_a_log_likelihood(name):
    law, value = laws()[name]
    exact = law.log_prob(value)
    with torch.autocast("cpu", torch.bfloat16):
        found = law.log_prob(value)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-2 if name == "nade" else 1e-4)


def test_factors_of_two_types_meet_in_the_wider():
    a, b = torch.rand(2, 3, D, dtype=torch.float64)
    torch.testing.assert_close(dot(a, b), (a * b).sum(-1))
    assert dot(a, b.bfloat16()).dtype == torch.float64
    assert dot(a.bfloat16(), b.bfloat16()).dtype == torch.float32
