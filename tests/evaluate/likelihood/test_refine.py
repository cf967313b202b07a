"""The amortisation gap against closed forms: normal latents, and bits by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows
from rows import EnumeratedRow, log_softmax_of, network, rows_pair

from oracles import ppca_log_prob
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.draws import score
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.refine import refine
from pyrodgm.guides import DiagonalNormal, LayeredBernoulli, LayeredNormal
from pyrodgm.models import DLGM, SBN
from variants import randomised

D, J = 3, 2
INFO = DataInfo("rows", "real", D, (0.0,) * D, 1.0, 1)
WEIGHT = ((0.8, 0.5), (-0.5, 0.9), (0.3, -0.7))
X = torch.tensor([[0.6, -1.1, 0.3], [-0.4, 0.3, 1.2], [2.0, 0.1, -1.0]])


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rows(x):
    return Sequences(x.numpy(), np.ones(len(x), int))


def test_refined_normal_numbers_are_the_best_independent_ones_in_closed_form():
    torch.manual_seed(0)
    model = LinearRows(INFO, WEIGHT, (0.2, -0.1, 0.0))
    guide = randomised(DiagonalNormal(model, hidden_dim=3), 0.5)
    found = refine(model, guide, rows(X), steps=400, step_draws=16, draws=20_000)
    with torch.no_grad():
        posterior = guide.posteriors["z"](guide.encode(Batch.of(X[:, None]))[:, 0])
        precision = torch.eye(J) + model.weight.T @ model.weight / SCALE**2
        mean = (X - model.centre) @ model.weight @ precision.inverse() / SCALE**2
        exact = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
        log_p = ppca_log_prob(model.weight, model.centre, SCALE, X)
        best = log_p - 0.5 * (precision.diagonal().log().sum() - precision.logdet())
        own = torch.distributions.MultivariateNormal(
            posterior.loc, posterior.scale.square().diag_embed()
        )
        amortised = log_p - torch.distributions.kl_divergence(own, exact)
    # Standard errors of the bounds are at most 0.02, and those of the gap no larger.
    np.testing.assert_allclose(found.refined, best, atol=0.04)
    np.testing.assert_allclose(found.amortisation_gap, best - amortised, rtol=0.05, atol=0.04)
    assert (found.amortisation_gap > 0.5).all()
    assert abs(found.last_gain) < 0.05


def test_refined_bits_have_the_best_bound_of_independent_bits():
    torch.manual_seed(1)
    info = DataInfo("rows", "binary", D, (0.5,) * D, 1.0, 1)
    model = randomised(SBN(info, hidden_dim=J), 2.0)
    guide = randomised(LayeredBernoulli(model), 1.0)
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = refine(model, guide, rows(x), steps=600, step_draws=16, draws=20_000)
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=J)))
    with torch.no_grad():
        nats = score(model, Batch.of(x[:, None]), {"z": z[:, None, None].expand(-1, 2, -1, -1)})
        log_p = sum(nats.values())[..., 0]  # (S, N)
        line = torch.linspace(1e-4, 1 - 1e-4, 800)
        p = torch.cartesian_prod(line, line)  # the probabilities of both bits
        log_q = (z[:, None] * p.log() + (1 - z[:, None]) * (1 - p).log()).sum(-1)
        bounds = log_q.exp().T @ log_p - (log_q.exp() * log_q).sum(0)[:, None]
    np.testing.assert_allclose(found.refined, bounds.max(0).values, atol=0.03)
    assert (found.amortisation_gap > 0.1).all()


def test_refined_classes_have_the_best_bound_of_independent_classes():
    """Against steps along the exact gradient of the bound, summed over all classes."""
    model, guide = rows_pair("categorical", std=0.5)
    model = randomised(model, 1.2)
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = refine(model, guide, rows(x), steps=600, step_draws=16, draws=20_000)
    for row, of_row in zip(x, found.refined, strict=True):
        exact = EnumeratedRow(model, guide, row)
        log_p, logits = exact.log_p[:, 0].detach(), network(guide.posteriors["z"], row).detach()
        logits.requires_grad_()
        optimiser = torch.optim.Adam([logits], lr=0.05)
        for _ in range(600):
            log_q = log_softmax_of(logits, exact.z, 3)
            bound = (log_q.exp() * (log_p - log_q)).sum()
            optimiser.zero_grad()
            (-bound).backward()
            optimiser.step()
        assert of_row == pytest.approx(float(bound.detach()), abs=0.03)
    assert (found.amortisation_gap > 0.1).all()


def test_the_guide_and_the_model_are_left_alone():
    model = LinearRows(INFO, WEIGHT, (0.2, -0.1, 0.0))
    guide = randomised(DiagonalNormal(model, hidden_dim=3), 0.5)
    before = [p.clone() for part in (model, guide) for p in part.parameters()]
    state = torch.get_rng_state()
    first, second = (refine(model, guide, rows(X), steps=4, draws=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert (first.refined == second.refined).all()
    after = [p for part in (model, guide) for p in part.parameters()]
    for p, q in zip(before, after, strict=True):
        assert torch.equal(p, q)
        assert q.requires_grad
        assert q.grad is None


def test_guides_whose_latents_depend_on_each_other_are_refused():
    model = DLGM(INFO, latent_dim=(2, 1), hidden_dim=3)
    guide = LayeredNormal(model, hidden_dim=3)
    with pytest.raises(CompatibilityError, match="draws 'z2' given other latents"):
        refine(model, guide, rows(X))
    with pytest.raises(UsageError, match="steps is 0"):
        refine(model, guide, rows(X), steps=0)
