"""Inference gaps of guides of linear models, in closed form."""

import math

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows

from continuous import as_wide_as_the_prior
from oracles import ppca_log_prob
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.ais import Chains
from pyrodgm.evaluate.likelihood.gaps import Gaps, gaps_words, inference_gaps
from pyrodgm.evaluate.likelihood.refine import Refinement
from pyrodgm.figures.gaps import inference_gaps as figure
from pyrodgm.guides import DiagonalNormal, NoGuide, RecurrentBernoulli
from pyrodgm.models import TSBN

WEIGHT = torch.tensor([[1.0, 0.6, 0.2], [0.5, 0.9, -0.1], [0.0, 0.4, 0.3]]).double()


def fitted(size=1):
    """A model of three correlated latents on a data set of some size, and a poor guide."""
    info = DataInfo("rows", "real", 3, (0.0,) * 3, 1.0, size)
    model = LinearRows(info, WEIGHT.tolist(), (0.0,) * 3)
    torch.manual_seed(0)
    guide = as_wide_as_the_prior(DiagonalNormal(model, hidden_dim=4)).double()
    x = torch.randn(12, 3).double()
    return model, guide, Sequences(x.numpy(), np.ones(12, int))


def best_approximation():
    """KL between the best diagonal normal and the posterior: its precisions are the diagonal."""
    precision = torch.eye(3).double() + WEIGHT.T @ WEIGHT / SCALE**2
    return 0.5 * float(precision.diagonal().log().sum() - precision.logdet())


def test_gaps_are_those_of_the_closed_form(double_precision):
    model, guide, rows = fitted()
    found = inference_gaps(model, guide, rows, draws=2000)
    exact = ppca_log_prob(WEIGHT, torch.zeros(3), SCALE, rows.x).numpy()
    assert found.by == "2000 importance draws"
    assert found.log_p.mean() == pytest.approx(exact.mean(), abs=0.1)
    precise = Gaps(exact, "", found.elbo, found.refinement)
    assert precise.approximation.mean() == pytest.approx(best_approximation(), abs=0.1)
    np.testing.assert_allclose(found.inference, found.approximation + found.amortisation)
    assert found.amortisation.mean() > 0.3
    assert "approximation gap" in gaps_words(found.to_dict())
    assert len(figure(found).axes[0].patches) == 24


def test_log_likelihoods_are_annealed_where_asked_for(double_precision):
    model, guide, rows = fitted()
    found = inference_gaps(model, guide, rows.select([0, 1]), draws=30, chains=Chains(4, 4))
    assert found.by == "annealing (ais)"
    assert found.log_p.shape == (2,)


def test_a_guide_with_dependent_latents_is_not_split():
    info = DataInfo("bits", "binary", 3, (0.3, 0.5, 0.7), 3.0, 9)
    model = TSBN(info, hidden_dim=2)
    rows = Sequences(np.eye(3, dtype=np.uint8).repeat(3, 0), np.array([4, 5]))
    with torch.no_grad():
        found = inference_gaps(model, RecurrentBernoulli(model), rows, draws=30)
    assert found.approximation is None
    assert found.to_dict()["amortisation_gap_nats_per_example"] is None
    assert "It is not split: RecurrentBernoulli draws" in gaps_words(found.to_dict())
    assert len(figure(found).axes[0].patches) == 2


@pytest.mark.parametrize(
    ("refined", "halfway", "said"),
    [
        (-1.0, -1.05, "A richer family"),
        (-0.2, -0.2, "Larger recognition networks"),
        (-1.0, -1.5, "had not converged"),
        (0.5, 0.5, "below the refined bound: use --ais"),
    ],
)
def test_what_the_gaps_mean_is_said(refined, halfway, said):
    bounds = [np.array([value]) for value in (-1.9, halfway, refined)]
    found = Gaps(np.zeros(1), "30 importance draws", bounds[0], Refinement(*bounds, 5, 5))
    assert said in gaps_words(found.to_dict())
    assert not math.isnan(found.inference.mean())


def test_annealing_of_what_cannot_be_annealed_is_refused_first():
    from pyrodgm.evaluate.likelihood.latent_path import refuse_without_path
    from pyrodgm.models import HMM, FeedForwardGenerator
    from pyrodgm.runs.guide_tests import GuideTests

    model = HMM(DataInfo("b", "binary", 2, (0.5, 0.5), 3.0, 3))
    with pytest.raises(CompatibilityError, match="no latents, so that there is no guide to test"):
        GuideTests(gaps=3, ais=True).refuse(model, NoGuide(model))
    generator = FeedForwardGenerator(DataInfo("r", "real", 2, (0.5, 0.5), 3.0, 1))
    with pytest.raises(CompatibilityError, match=r"has no density .* annealing needs one"):
        refuse_without_path(generator, None)
