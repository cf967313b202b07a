"""Means over all sequences by regression, against exact log-likelihoods."""

import numpy as np
import pytest
import torch

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.draws import draw, score
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.evaluate.likelihood.regression import by_regression, guide_scores
from pyrodgm.evaluate.passes import drawing
from pyrodgm.guides import DiagonalNormal, FeedForwardImplicit, NoGuide
from pyrodgm.models import VAE
from variants import randomised

SOME, ALL = 40, 400


def rows():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(ALL, 8, generator=generator).round()
    x[torch.rand(ALL, generator=generator) < 0.5, :4] = 1.0  # two kinds of rows
    return Sequences(x.numpy(), np.ones(ALL, dtype=np.int64))


def pair(guide):
    torch.manual_seed(0)
    info = DataInfo("bits", "binary", 8, (0.6,) * 8, 1.0, 1)
    model = randomised(VAE(info, latent_dim=2, hidden_dim=8)).float()
    with torch.no_grad():  # latents matter less than the kind of a row
        for weight in model.parameters():
            weight.mul_(0.5)
            if weight.shape == (8,):
                weight.add_(2 * torch.tensor([1.0] * 4 + [-0.5] * 4))
    return model, guide(model)


def test_a_linear_relation_is_exact():
    x = np.random.default_rng(0).normal(size=ALL)
    found = by_regression(3 + 2 * x[:SOME], x[:SOME], x)
    assert found.value == pytest.approx(3 + 2 * x.mean())
    assert found.error == pytest.approx(2 * x.std() / np.sqrt(ALL))


def test_without_a_relation_it_is_the_mean():
    y = np.random.default_rng(0).normal(size=SOME)
    found = by_regression(y, np.ones(SOME), np.ones(ALL))
    assert found.value == pytest.approx(y.mean())
    assert found.error == pytest.approx(y.std() / np.sqrt(SOME - 2))


def test_errors_are_those_of_repeated_samples():
    """4000 samples: the variance of the standardised error is 1 within 5 standard errors."""
    rng, true, off = np.random.default_rng(0), 1.5, []
    for _ in range(4000):
        x = rng.normal(size=ALL)
        found = by_regression(true + 2 * x[:SOME] + rng.normal(size=SOME), x[:SOME], x)
        off.append((found.value - true) / found.error)
    assert abs(np.mean(off)) < 5 / np.sqrt(4000)
    assert abs(np.var(off) - 1) < 5 * np.sqrt(2 / 4000) + 2 / SOME  # n - 2 are estimated


@pytest.mark.parametrize("guide", [DiagonalNormal, FeedForwardImplicit])
def test_what_a_guide_tells_narrows_the_error(guide):
    model, q = pair(guide)
    exact, _ = sequence_bounds(model, q, rows(), estimator="quadrature")
    cheap = guide_scores(model, q, rows())
    some = np.arange(SOME) * ALL // SOME
    found = by_regression(exact[some], cheap[some], cheap)
    assert abs(found.value - exact.mean()) < 4 * found.error
    assert found.error < 0.7 * exact[some].std() / np.sqrt(SOME)


def test_scores_are_bounds_or_joint_densities():
    model, q = pair(DiagonalNormal)
    expected = sequence_bounds(model, q, rows(), estimator="elbo", seed=3)[0]
    np.testing.assert_array_equal(guide_scores(model, q, rows(), seed=3), expected)
    model, q = pair(FeedForwardImplicit)
    with drawing(model, 3, "scores of the guide"):
        batch = rows().batch(range(ALL))
        log_p = score(model, batch, draw(q, batch, 4, pathwise=False).values)
    joint = (log_p["z"] + log_p["x"]).double().mean(0)[:, 0]
    np.testing.assert_allclose(guide_scores(model, q, rows(), seed=3), joint, rtol=1e-6)
    assert guide_scores(model, NoGuide(model), rows()) is None
