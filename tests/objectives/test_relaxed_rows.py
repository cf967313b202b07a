"""Path gradients of one-hot codings on rows: their exact means, and what they tend to."""

import copy
import math

import pytest
import torch
from rows import EnumeratedRow, network, rows_pair

from oracles import assert_mean, bernoulli, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.distributions import (
    OneHotVector,
    log_gumbel_softmax,
    log_logistic,
    reinmax,
    relaxed_log_probs,
    straight_through,
)
from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.engine.draws import score
from pyrodgm.errors import CompatibilityError
from pyrodgm.objectives import Concrete, ReinMax, StraightThrough
from pyrodgm.setup.config import resolve
from variants import frames

TEMPERATURE, CLASSES = 0.6, 3
COPIES, CALLS = 1500, 24
STEP, END = 0.2, 16.0


def covariance(p):
    """diag(p) - p p^T, the derivative of a softmax."""
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]


JACOBIANS = {
    StraightThrough: lambda z, p: covariance(p).expand(*z.shape, -1),
    ReinMax: lambda z, p: 2 * covariance((z + p) / 2) - covariance(p) / 2,
}


def with_jacobian(value, logits, jacobian):
    """Codings (S, J C) of variables of three classes, with the gradient that they pass on."""
    z, l = (each.unflatten(-1, (-1, CLASSES)) for each in (value, logits))
    slope = jacobian(z, l.softmax(-1)).detach()
    moved = (slope @ (l - l.detach())[..., None]).squeeze(-1)
    return (z + moved).flatten(-2)


@pytest.mark.parametrize("kind", JACOBIANS)
def test_mean_gradient_is_that_of_the_jacobians(kind):
    torch.manual_seed(0)
    model, guide = rows_pair("categorical")
    x = frames("bernoulli")
    exact, held = EnumeratedRow(model, guide, x), copy.deepcopy(guide).requires_grad_(False)
    z = with_jacobian(exact.z, network(guide.posteriors["z"], x), JACOBIANS[kind])
    prior = (z * model.prior["z"].unflatten(0, (-1, CLASSES)).log_softmax(-1).flatten()).sum(-1)
    logits = network(held.posteriors["z"], x).unflatten(0, (-1, CLASSES))
    log_q = (z * logits.log_softmax(-1).flatten()).sum(-1)
    log_w = bernoulli(network(model.decoder, z), x) + prior - log_q
    parameters = [*model.parameters(), *guide.parameters()]
    expected = gradient((exact.q.detach() * log_w).sum(), parameters)
    objective, batch = kind(model, guide), Batch.of(x.expand(COPIES, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, expected)


def test_reinmax_is_exact_for_quadratic_functions_and_straight_through_for_linear_ones():
    torch.manual_seed(1)
    logits = torch.randn(CLASSES).double().requires_grad_()
    slope, curve = torch.randn(CLASSES).double(), torch.randn(CLASSES, CLASSES).double()
    every = torch.eye(CLASSES).double()
    for surrogate, square in ((straight_through, 0 * curve), (reinmax, curve)):

        def f(z, square=square):
            return z @ slope + ((z @ square) * z).sum(-1)

        probs = logits.softmax(-1)
        exact = gradient((probs * f(every)).sum(), [logits])
        certain = 60 * every  # noise that makes every class the one that is drawn
        found = surrogate(OneHotVector(logits.expand(CLASSES, -1), CLASSES)).from_noise(certain)
        torch.testing.assert_close(found.detach(), every)
        mean = gradient((probs.detach() * f(found)).sum(), [logits])
        torch.testing.assert_close(mean, exact)


def differences():
    """The trapezoidal rule over differences of Gumbel noise: its nodes (S, 3) and their weights."""
    line = torch.arange(-END, END + STEP, STEP).double()
    pairs = torch.cartesian_prod(line, line)
    noise = torch.cat([pairs, torch.zeros_like(pairs[:, :1])], -1)
    total = (-noise).exp().sum(-1)
    return noise, STEP**2 * 2 * (-noise).exp().prod(-1) / total**CLASSES


def concrete_density(logits, z):
    """log p(z) of one concrete variable, as published."""
    alpha, t = logits.exp(), TEMPERATURE
    each = torch.log(alpha * z ** (-t - 1)).sum(-1)
    below = CLASSES * torch.log((alpha * z**-t).sum(-1))
    return math.log(math.factorial(CLASSES - 1) * t ** (CLASSES - 1)) + each - below


@pytest.mark.parametrize("density", ["relaxed", "discrete"])
def test_mean_gradient_of_relaxed_classes_is_that_of_a_quadrature(density):
    torch.manual_seed(2)
    model, guide = rows_pair("categorical", 0.5, latent_dim=1)
    x = frames("bernoulli")
    noise, weight = differences()
    assert float(weight.sum()) == pytest.approx(1, abs=1e-5)
    l_q = network(guide.posteriors["z"], x)
    z = ((l_q + noise) / TEMPERATURE).softmax(-1)
    score_of = {
        "relaxed": concrete_density,
        "discrete": lambda l, z: (z * (l - l.logsumexp(-1))).sum(-1),
    }[density]
    log_w = bernoulli(network(model.decoder, z), x)
    log_w = log_w + score_of(model.prior["z"], z) - score_of(l_q, z)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient((weight * log_w).sum(), parameters)
    objective = Concrete(model, guide, temperature=TEMPERATURE, density=density)
    batch = Batch.of(x.expand(COPIES, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact)


def test_hard_classes_have_the_bound_and_its_gradient_for_the_model():
    torch.manual_seed(3)
    model, guide = rows_pair("categorical")
    x = frames("bernoulli")
    elbo, parameters = EnumeratedRow(model, guide, x).elbo(), list(model.parameters())
    objective, batch = Concrete(model, guide, hard=True), Batch.of(x.expand(COPIES, 1, -1))
    with torch.no_grad():
        assert_mean(objective.trace(batch).log_w.flatten(), elbo.detach())
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, gradient(elbo, parameters))


def test_two_classes_are_relaxed_as_a_bit_is():
    torch.manual_seed(4)
    l_p, l_q, noise = torch.randn(3, 5, 1).double()
    value, zero = (l_q - noise).sigmoid(), torch.zeros(5, 1).double()
    bits = relaxed_log_probs(BernoulliVector(l_p), BernoulliVector(l_q), noise, value)
    p, q = (OneHotVector(torch.cat([l, zero], -1), 2) for l in (l_p, l_q))
    classes = relaxed_log_probs(p, q, torch.cat([-noise, zero], -1), value)
    for one, other in zip(bits, classes, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(
        log_gumbel_softmax(torch.cat([l_p, l_q], -1)), log_logistic(l_p - l_q)
    )


def test_numbers_beside_relaxed_classes_keep_their_own_terms():
    torch.manual_seed(5)
    model, guide = rows_pair("mixed", latents="mixed", latent_dim=2, classes=CLASSES)
    batch = Batch.of(frames("bernoulli", 4, 1))
    found = Concrete(model, guide, particles=3).trace(batch)
    for program, terms in ((model, found.p), (guide, found.q)):
        torch.testing.assert_close(score(program, batch, found.values)["z"], terms["z"])
    assert bool((found.values["y"] < 1).all())
    loss = Concrete(model, guide, particles=3)(batch).surrogate
    assert gradient(loss, list(guide.posteriors.parameters())).ne(0).any()


@pytest.mark.parametrize("objective", ["concrete", "reinmax", "straight-through"])
def test_numbers_alone_are_refused_in_words(objective):
    with pytest.raises(CompatibilityError, match="needs binary latents or categorical latents"):
        resolve({"model": {"name": "vae"}, "objective": {"name": objective}})


def test_symbols_cannot_carry_gradients():
    symbols = torch.distributions.Categorical(logits=torch.zeros(3))
    with pytest.raises(CompatibilityError, match="draws from Categorical carry no gradients"):
        reinmax(symbols)
