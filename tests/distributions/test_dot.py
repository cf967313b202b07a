import pytest
import torch

from pyrodgm.distributions import NADE, BernoulliVector, CountVector, NormalVector, partial
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


@pytest.mark.parametrize("seen", [None, torch.arange(D) % 3 > 0])
@pytest.mark.parametrize("name", ["bits", "counts", "normal"])
def test_logits_of_a_network_under_autocast_are_not_rounded_further(name, seen):
    """A linear layer gives bfloat16 there; what is summed over many features is not."""
    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Linear(4, D, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(7, 4, generator=generator)).detach()
    assert logits.dtype == torch.bfloat16
    value = torch.randint(0, 2 if name == "bits" else 12, (7, D), generator=generator).float()

    scale = 0.1 + logits.square()

    def made(dtype):
        return {
            "bits": lambda: BernoulliVector(logits.to(dtype)),
            "counts": lambda: CountVector(logits.to(dtype), 100),
            "normal": lambda: NormalVector(logits.to(dtype), scale.to(dtype)),
        }[name]()

    with torch.autocast("cpu", torch.bfloat16):
        found = partial(made(torch.bfloat16), seen).log_prob(value)
    exact = partial(made(torch.float32), seen).log_prob(value)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-3)
