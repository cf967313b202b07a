"""Bits that carry gradients: the values stay, and the gradient is that of the slopes."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch

from oracles import bernoulli
from pyrodgm.batch import Batch
from pyrodgm.distributions import (
    BernoulliVector,
    HardConcreteBits,
    MeanFieldBits,
    NormalVector,
    ReinMaxBits,
    StraightThroughBits,
)
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError
from variants import SEQUENTIAL, VARIANTS, D, frames, pair

K, B = 5, 4


def rows(variant):
    return Batch.of(frames("bernoulli", B, VARIANTS[variant].length))


@pytest.mark.parametrize(
    "surrogate",
    [StraightThroughBits, ReinMaxBits, partial(HardConcreteBits, temperature=0.5)],
    ids=["straight-through", "reinmax", "hard concrete"],
)
@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-s", "dtsbn-d", "sbn"])
@pytest.mark.parametrize("particles", [1, K])
def test_values_and_log_probabilities_are_those_of_the_bits(variant, surrogate, particles):
    torch.manual_seed(0)
    model, guide = pair(variant)
    batch = rows(variant)
    plain = draw(guide, batch, particles, keep_noise=True)
    carried = draw(guide, batch, particles, noise=plain.noise, surrogate=surrogate)
    for name, value in plain.values.items():
        assert carried.values[name].requires_grad
        torch.testing.assert_close(carried.values[name].detach(), value, rtol=0, atol=1e-15)
        torch.testing.assert_close(carried.log_probs[name], plain.log_probs[name])
    of_pair = terms(model, guide, batch, particles, surrogate=surrogate)
    assert of_pair.path.keys() == guide.latents.keys()
    assert not of_pair.score


@pytest.mark.parametrize(
    ("surrogate", "slope"),
    [
        (StraightThroughBits, lambda z, p: p * (1 - p)),
        (ReinMaxBits, lambda z, p: (z - p).abs() / 2),
    ],
)
def test_gradients_flow_through_the_whole_path(surrogate, slope):
    """The sum of all bits of a path, differentiated by the recurrence of its own log-odds."""
    torch.manual_seed(1)
    _, guide = pair("tsbn")
    batch = rows("tsbn")
    draws = draw(guide, batch, K, keep_noise=True, surrogate=surrogate)
    layer, x = guide.layers[0], batch.x
    z, total = torch.zeros(K, B, 2).double(), 0
    for t in range(batch.length):
        logits = z @ layer.own.weight.T + x[:, t] @ layer.now.weight.T + layer.bias.bias[min(t, 1)]
        if t:
            logits = logits + x[:, t - 1] @ layer.past.weight.T
        hard = (draws.noise["z"][..., t, :] < logits).double()
        steep = slope(hard, logits.sigmoid()).detach()
        z = hard + steep * (logits - logits.detach())
        total = total + z.sum()
    found = torch.autograd.grad(draws.values["z"].sum(), layer.parameters())
    expected = torch.autograd.grad(total, layer.parameters())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("variant", [*SEQUENTIAL, "sbn"])
def test_displaced_means_have_total_derivatives(variant):
    """The derivative with respect to a displacement, by a difference quotient."""
    torch.manual_seed(2)
    _, guide = pair(variant)
    batch = rows(variant)
    zeros = {n: torch.zeros(1, B, batch.length, s.dim).double() for n, s in guide.latents.items()}
    name, step = next(iter(guide.latents)), 1e-6

    def mean_path(displacement):
        given = zeros | {name: displacement}
        return draw(guide, batch, 1, noise=given, surrogate=MeanFieldBits).values

    assert torch.equal(
        mean_path(zeros[name])[name], draw(guide, batch, surrogate=MeanFieldBits).values[name]
    )
    leaf = zeros[name].clone().requires_grad_()
    total = sum(value.square().sum() for value in mean_path(leaf).values())
    (found,) = torch.autograd.grad(total, leaf)
    moved = zeros[name].clone()
    moved[0, 1, 0, 0] = step
    difference = [
        sum(value.square().sum() for value in mean_path(each).values()) for each in (moved, -moved)
    ]
    expected = (difference[0] - difference[1]) / (2 * step)
    torch.testing.assert_close(found[0, 1, 0, 0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_slopes_are_unbiased_for_linear_and_quadratic_functions(p):
    logits = torch.tensor([p]).double().logit().requires_grad_()
    bits = torch.tensor([0.0, 1.0]).double()
    q = bernoulli(logits, bits[:, None]).exp()
    for power, surrogates in ((1, [StraightThroughBits, ReinMaxBits]), (2, [ReinMaxBits])):
        (exact,) = torch.autograd.grad((q * bits**power).sum(), logits, retain_graph=True)
        for surrogate in surrogates:
            slopes = surrogate(BernoulliVector(logits)).slope(bits)
            mean = (q * power * bits ** (power - 1) * slopes).sum()
            torch.testing.assert_close(mean, exact.sum())


def test_what_cannot_carry_is_refused():
    def program(batch):
        with pyro.plate("t", 3), pyro.plate("b", B):
            pyro.sample("z", dist.Bernoulli(0.5))

    with pytest.raises(CompatibilityError, match="not a sequence program"):
        draw(program, rows("tsbn"), surrogate=ReinMaxBits)
    with pytest.raises(CompatibilityError, match="draws from NormalVector carry no gradients"):
        ReinMaxBits(NormalVector(torch.zeros(D), torch.ones(D)))
