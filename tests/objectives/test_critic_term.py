"""The critic term with a guide whose density is known: its optimum, and the gradients it gives."""

import math
from functools import partial

import pytest
import torch
from linear_gaussian import ExactRatio, LinearRows, NormalOfNoise, X, exact_bound, linear
from scipy.stats import norm
from torch import nn

from oracles import FALSE_POSITIVE_RATE, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.engine.terms import estimated_terms, terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.networks.critics import JointCritic
from pyrodgm.objectives.critic_term import AdaptiveContrast, CriticTerm, PriorContrast

COPIES = 500


class Quadratic(nn.Module):
    """Linear in all monomials up to the second degree: the ratio of two normals is one of these."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, dtype=torch.float64))

    def features(self, x, z):
        z = z[..., 0]
        u = x[..., 0].expand_as(z)
        return torch.stack([torch.ones_like(z), z, u, z * z, z * u, u * u], -1)

    def forward(self, batch, z):
        return self.features(batch.x, z) @ self.weight


def pair():
    model = LinearRows()
    return model, NormalOfNoise(model)


def rows(copies=COPIES):
    return Batch.of(X.repeat(copies, 1)[:, None])


def test_the_optimum_of_the_critic_is_the_exact_log_ratio():
    """Of N draws, the minimum is normal about the truth, with the sandwich covariance.

    log q - log p = -((z - a u - b)/s)^2/2 - log s + z^2/2, by monomials of z and the feature u.
    """
    torch.manual_seed(0)
    model = LinearRows()
    guide = NormalOfNoise(model, slope=(0.5, 0.0))
    batch = Batch.of(torch.randn(8_000, 1, 2).double())
    term = CriticTerm(Quadratic())
    q = draw(guide, batch, pathwise=False).values
    r = PriorContrast(model, batch).draws(1)
    optimizer = torch.optim.LBFGS(term.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = term.loss(q, r, batch).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    a, b, log_s = torch.stack([guide.slope[0], guide.offset, guide.log_scale]).tolist()
    p = math.exp(-2 * log_s)  # the precision of q
    exact = [-0.5 * b * b * p - log_s, b * p, -a * b * p, 0.5 - 0.5 * p, a * p, -0.5 * a * a * p]
    exact = torch.tensor(exact, dtype=torch.float64)
    with torch.no_grad():
        hessian, spread = torch.zeros(2, 6, 6, dtype=torch.float64)
        for values, sign in ((q, -1.0), (r, 1.0)):
            f = term.critic.features(batch.x, values["z"]).reshape(-1, 6)
            s = torch.sigmoid(sign * (f @ exact))
            hessian += (f * (s * (1 - s))[:, None]).T @ f / len(f)
            spread += torch.cov((sign * s[:, None] * f).T)
        covariance = hessian.inverse() @ spread @ hessian.inverse() / len(f)
        off = (term.critic.weight - exact).abs() / covariance.diagonal().sqrt()
    assert float(off.max()) < norm.isf(FALSE_POSITIVE_RATE / 12)
    assert float(covariance.diagonal().max().sqrt()) < 0.07


def test_a_network_comes_near_the_exact_log_ratio():
    torch.manual_seed(1)
    model, guide = pair()
    batch = rows(256)
    term = CriticTerm(JointCritic(model.info, model.latents, (32, 32))).double()
    optimizer = torch.optim.Adam(term.parameters(), lr=5e-3)
    for _ in range(200):
        q = draw(guide, batch, pathwise=False).values
        optimizer.zero_grad()
        term.loss(q, PriorContrast(model, batch).draws(1), batch).mean().backward()
        optimizer.step()
    q = draw(guide, batch, pathwise=False).values
    error = (term.ratio(q, batch) - ExactRatio(guide)(batch, **q)).detach()
    assert float(error.square().mean().sqrt()) < 0.15
    assert float(ExactRatio(guide)(batch, **q).detach().std()) > 0.5


def test_the_loss_is_two_log_two_where_the_critic_knows_nothing():
    model, _ = pair()
    batch, term = rows(3), CriticTerm(Quadratic())
    z = PriorContrast(model, batch).draws(2)
    assert term.loss(z, z, batch).shape == (2, 6, 1)
    torch.testing.assert_close(term.loss(z, z, batch), torch.full((2, 6, 1), 4.0).log().double())


def contrasts(model, guide, batch, kind):
    """The contrast, and the exact ratio of q and it."""
    if kind == "prior":
        return PriorContrast(model, batch), ExactRatio(guide)
    contrast = AdaptiveContrast(guide, batch, 5)
    return contrast, ExactRatio(guide, lambda: (contrast.mean["z"], contrast.scale["z"]))


@pytest.mark.parametrize("kind", ["prior", "adaptive"])
def test_with_the_exact_ratio_the_terms_are_those_of_the_known_density(kind):
    torch.manual_seed(2)
    model, guide = pair()
    mask = torch.tensor([[True, True], [True, False]])
    batch = Batch(torch.stack([X, X.flip(0)]) * mask[..., None], mask, torch.arange(2))
    contrast, exact = contrasts(model, guide, batch, kind)
    log_q = partial(CriticTerm(exact).log_q, batch, contrast)
    found = estimated_terms(model, guide, batch, 4, log_q)
    z = found.values["z"]
    log_q = guide.log_prob(batch.x, z).masked_fill(~mask, 0.0)
    torch.testing.assert_close(found.q["z"], log_q)
    torch.testing.assert_close(found.p["x"], score(model, batch, found.values)["x"])
    torch.testing.assert_close(found.kl["z"], log_q - found.p["z"])
    torch.testing.assert_close(found.direct, found.log_w)
    assert not found.log_score.any()


@pytest.mark.parametrize("kind", ["prior", "adaptive"])
def test_a_prior_with_parameters_learns_by_its_own_density(kind):
    """Of N(0, s^2) at s = 1, the derivative of log p(z) by s is z^2 - 1."""
    torch.manual_seed(4)
    model, guide = pair()
    model.prior = linear(1.0)
    batch = rows()
    contrast, exact = contrasts(model, guide, batch, kind)
    log_q = partial(CriticTerm(exact).log_q, batch, contrast)
    found = estimated_terms(model, guide, batch, 4, log_q)
    slope = gradient(found.log_w.sum(), [model.prior])
    torch.testing.assert_close(slope, (found.values["z"].square() - 1).sum().detach()[None])


@pytest.mark.parametrize("kind", ["prior", "adaptive"])
def test_the_mean_gradient_with_the_exact_ratio_is_that_of_the_bound(kind):
    """By the parameters of model and guide, where the critic is a constant to both."""
    torch.manual_seed(3)
    model, guide = pair()
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(exact_bound(model, guide, X).mean(), parameters)
    batch = rows()
    known = NormalOfNoise(model)  # of the same numbers, which nothing updates
    known.requires_grad_(False)

    def estimate():
        contrast, ratio = contrasts(model, known, batch, kind)
        log_q = partial(CriticTerm(ratio).log_q, batch, contrast)
        return estimated_terms(model, guide, batch, 1, log_q).log_w.mean()

    assert_mean(sample_gradients(estimate, parameters, 100), exact)


def test_the_mean_gradient_of_the_optimal_critic_is_zero():
    """Proposition 2: by the guide's parameters, at draws that do not follow them."""
    torch.manual_seed(4)
    _, guide = pair()
    batch, term = rows(), CriticTerm(ExactRatio(guide))

    def ratio():
        q = draw(guide, batch, pathwise=False).values
        return term.ratio(q, batch).mean()

    samples = sample_gradients(ratio, list(guide.parameters()), 200)
    assert_mean(1 + samples, torch.ones(samples.shape[1]).double())


def test_draws_follow_given_noise_and_have_no_density():
    torch.manual_seed(5)
    model, guide = pair()
    batch = rows(2)
    first = draw(guide, batch, 3)
    again = draw(guide, batch, 3, noise=first.noise, pathwise=False)
    assert torch.equal(first.values["z"], again.values["z"])
    assert first.values["z"].requires_grad
    assert not again.values["z"].requires_grad
    for ask in (
        lambda: first.factors,
        lambda: score(guide, batch, first.values),
        lambda: terms(model, guide, batch),
    ):
        with pytest.raises(CompatibilityError, match="NormalOfNoise computes its draws from noise"):
            ask()
    with pytest.raises(CompatibilityError, match="from one site 'noise', and noise of z is given"):
        draw(guide, batch, noise={"z": first.values["z"]})
