"""Mean gradients of bits with slopes against sums over all paths, and their bias."""

import copy

import pytest
import torch

from oracles import (
    Enumerated,
    assert_mean,
    gradient,
    layered_log_p,
    layered_log_q,
    recognition_logits,
    sample_gradients,
)
from pyrodgm.batch import Batch
from pyrodgm.objectives import Concrete, ReinMax, StraightThrough
from variants import VARIANTS, frames, pair, randomised

SLOPES = {
    StraightThrough: lambda z, p: p * (1 - p),
    ReinMax: lambda z, p: (z - p).abs() / 2,
}
TEMPERATURE = 0.6
CELLS = ["tsbn order 2", "dtsbn-s", "sbn"]
COPIES = 1000


def example(variant, std=0.8):
    model, guide = pair(variant)
    length = min(2, VARIANTS[variant].length)
    return randomised(model, std), randomised(guide, std), frames("bernoulli", length)


def with_slopes(guide, x, hard, slope):
    """Paths (S, T, J) by site, with the gradients that their bits pass on."""
    paths = {name: value[:, :0] for name, value in hard.items()}
    for t in range(len(x)):
        below = x
        for layer, (name, value) in zip(guide.layers, hard.items(), strict=True):
            logits = recognition_logits(layer, below, paths[name], t, guide.history)
            steep = slope(value[:, t], logits.sigmoid()).detach()
            bits = value[:, t] + steep * (logits - logits.detach())
            below = paths[name] = torch.cat([paths[name], bits[:, None]], 1)
    return paths


def mean_gradient(model, guide, x, slope, parameters):
    """Of the bound along all paths with their probabilities, log q held fixed at its weights."""
    exact = Enumerated(model, guide, x)
    paths = with_slopes(guide, x, exact.paths, slope)
    held = copy.deepcopy(guide).requires_grad_(False)
    log_w = layered_log_p(model, x, paths) - layered_log_q(held, x, paths)
    return gradient((exact.q.detach() * log_w.sum(-1)).sum(), parameters)


def concrete_slope(z, p):
    """The mean slope of a relaxed bit over the noise on its side of the log-odds."""
    v = torch.linspace(0, 40, 2001).double()
    s = v.sigmoid()
    toward = torch.where(z == 1, 1.0, -1.0)[..., None]
    noise = p.logit()[..., None] - toward * TEMPERATURE * v
    f = noise.sigmoid() * (-noise).sigmoid()
    return torch.trapezoid(s * (1 - s) * f, v) / torch.where(z == 1, p, 1 - p)


def ragged(x):
    """Copies of a sequence, with a frame of padding."""
    padded = torch.cat([x, torch.full_like(x[:1], 0.5)]).expand(COPIES, -1, -1)
    mask = (torch.arange(len(x) + 1) < len(x)).expand(COPIES, -1)
    return Batch(padded, mask, torch.arange(COPIES))


@pytest.mark.parametrize("kind", SLOPES)
@pytest.mark.parametrize("variant", CELLS)
def test_mean_gradient_is_that_of_the_slopes(variant, kind):
    torch.manual_seed(0)
    model, guide, x = example(variant)
    parameters = [*model.parameters(), *guide.parameters()]
    expected = mean_gradient(model, guide, x, SLOPES[kind], parameters)
    objective, batch = kind(model, guide), ragged(x)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, expected)


@pytest.mark.parametrize("variant", CELLS)
def test_mean_gradient_of_hard_concrete_bits_is_that_of_their_mean_slopes(variant):
    torch.manual_seed(2)
    model, guide, x = example(variant)
    parameters = [*model.parameters(), *guide.parameters()]
    expected = mean_gradient(model, guide, x, concrete_slope, parameters)
    objective = Concrete(model, guide, temperature=TEMPERATURE, hard=True)
    batch = ragged(x)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, expected)


@pytest.mark.parametrize("variant", CELLS)
def test_the_bias_is_in_the_guide_alone_and_of_the_documented_order(variant):
    """With half the weights, relative errors are a quarter and an eighth of what they were."""
    torch.manual_seed(1)
    bias = {}
    whole, recognition, x = example(variant)
    for size in (1.0, 1 / 8, 1 / 16):
        model, guide = copy.deepcopy(whole), copy.deepcopy(recognition)
        of_model, of_guide = list(model.parameters()), list(guide.parameters())
        with torch.no_grad():
            for parameter in [*of_model, *of_guide]:
                parameter.mul_(size)
        elbo = Enumerated(model, guide, x).elbo()
        for kind, slope in SLOPES.items():
            found = mean_gradient(model, guide, x, slope, of_model)
            torch.testing.assert_close(found, gradient(elbo, of_model))
            error = mean_gradient(model, guide, x, slope, of_guide) - gradient(elbo, of_guide)
            bias[kind, size] = float(error.norm() / gradient(elbo, of_guide).norm())
    assert 1e-3 < bias[ReinMax, 1.0] < 0.6 * bias[StraightThrough, 1.0]
    falls = [bias[kind, 1 / 8] / bias[kind, 1 / 16] for kind in (StraightThrough, ReinMax)]
    assert falls == pytest.approx([4.0, 8.0], rel=0.1)
