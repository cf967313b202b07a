"""Linear autoregressive bits against their definition, and against sums over all outputs."""

from __future__ import annotations

import pytest
import torch

from oracles import all_paths, assert_mean, linear_bits
from pyrodgm.distributions import LinearBits, is_bits, logits_given, numbered

OUTPUTS = all_paths(5, 1)[..., 0]


def tiny(*shape: int) -> LinearBits:
    """Random, in double precision, every argument with a gradient, five bits."""
    sizes = [(*shape, 5), (5, 5)]
    return LinearBits(*(torch.randn(size).double().requires_grad_() for size in sizes))


def test_sums_to_one_over_all_outputs() -> None:
    total = tiny(3).log_prob(OUTPUTS[:, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(3).double())


@pytest.mark.parametrize(
    ("shape", "value_shape"), [((), ()), ((5,), (5,)), ((2, 3, 5), (3, 5)), ((3, 1), (2, 3, 5))]
)
def test_follows_its_definition(shape, value_shape) -> None:
    torch.manual_seed(0)
    bits, value = tiny(*shape), torch.rand(*value_shape, 5).round().double()
    expected = linear_bits(bits.weight)(bits.bias, value)
    assert bits.log_prob(value).shape == expected.shape
    torch.testing.assert_close(bits.log_prob(value), expected)
    weight = torch.randn(expected.shape).double()
    arguments = [bits.bias, bits.weight]
    torch.testing.assert_close(
        torch.autograd.grad((bits.log_prob(value) * weight).sum(), arguments),
        torch.autograd.grad((expected * weight).sum(), arguments),
    )


def test_draws_follow_it_and_have_its_entropy() -> None:
    torch.manual_seed(1)
    bits = tiny(2)
    draws = bits.sample(torch.Size([60_000]))
    assert draws.shape == (60_000, 2, 5)
    assert not draws.requires_grad
    nats = bits.log_prob(OUTPUTS[:, None]).detach()
    kind = (draws @ 2.0 ** torch.arange(4, -1, -1).double()).long()
    assert_mean(torch.nn.functional.one_hot(kind, 32).double(), nats.exp().T)
    assert_mean(-bits.log_prob(draws).detach(), -(nats.exp() * nats).sum(0))


def test_missing_bits_are_drawn_in_order_and_weighted() -> None:
    torch.manual_seed(2)
    bits, seen = tiny(), torch.tensor([True, False, True, False, True])
    value = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0]).double()
    with torch.no_grad():
        draws = bits.expand(torch.Size([60_000])).complete(value, seen)
        assert bool((draws[:, seen] == value[seen]).all())
        weight = bits.log_prob_of_completion(draws, seen.expand_as(draws)).exp()
        fits = (OUTPUTS[:, seen] == value[seen]).all(-1)
        joint = bits.log_prob(OUTPUTS).exp() * fits
    assert_mean(weight, joint.sum())
    assert_mean(weight[:, None] * draws, joint @ OUTPUTS)


def test_log_odds_given_the_bits_before() -> None:
    bits, value = tiny(4), torch.rand(4, 5).round().double()
    turned = [value.clone() for _ in range(2)]
    for digit, each in enumerate(turned):
        each[:, 3] = digit
    off, on = (linear_bits(bits.weight[:4, :4])(bits.bias[:, :4], each[:, :4]) for each in turned)
    torch.testing.assert_close(logits_given(bits, value)[:, 3], on - off)


def test_expand_and_enumeration() -> None:
    bits, value = tiny(4), torch.rand(4, 5).round().double()
    wide = bits.expand(torch.Size([2, 4]))
    torch.testing.assert_close(wide.log_prob(value), bits.log_prob(value).expand(2, 4))
    assert wide.sample().shape == (2, 4, 5)
    assert is_bits(bits)
    torch.testing.assert_close(
        numbered(bits, value).probs, bits.log_prob(OUTPUTS[:, None]).exp().movedim(0, -1)
    )
