"""Simulation-based calibration, with guides that are exact and guides that are wrong."""

import math

import numpy as np
import pytest
import torch
from linear_gaussian import SCALE, LinearRows
from scipy.stats import binomtest, kstest
from torch import nn

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.posterior.calibration import (
    FALSE_POSITIVES,
    Calibration,
    _band,
    _ranks,
    calibration,
    calibration_words,
    most_active,
)
from pyrodgm.figures.calibration import rank_differences
from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.models import SBN

REAL = DataInfo("rows", "real", 3, (0.0,) * 3, 1.0, 1)
BITS = DataInfo("bits", "binary", 3, (0.3, 0.5, 0.7), 1.0, 3)
ROWS = Sequences(np.zeros((40, 3)), np.ones(40, int))
S = 300


class Posterior(StepGuide):
    """The posterior of a linear model with orthogonal loadings, with another scale or shift."""

    traits = GuideTraits(latents="continuous", sequential=False, reparameterised=True)

    def __init__(self, model, scale=1.0, shift=0.0):
        super().__init__(model)
        self.history, self.scale, self.shift = 0, scale, shift
        self.unused = nn.Parameter(torch.zeros(()))

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        weight = self.model.weight
        precision = 1 + (weight**2).sum(0) / SCALE**2
        mean = (encoded - self.model.centre) @ weight / SCALE**2 / precision
        deviation = precision**-0.5
        mean, scale = mean + self.shift * deviation, self.scale * deviation
        draw("z", NormalVector(mean, scale.expand_as(mean)))


class Prior(StepGuide):
    """Bits of the prior, whatever is observed."""

    traits = GuideTraits(latents="binary", sequential=False)

    def __init__(self, model):
        super().__init__(model)
        self.history = 0

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        logits = self.model.layers[0].bias.bias[0]
        draw("z", BernoulliVector(logits.expand(*encoded.shape[:-1], -1)))


def linear():
    return LinearRows(REAL, [[1.0, 0.3], [0.5, -0.6], [0.0, 0.4]], (0.0,) * 3).float()


def found(model, guide, **given):
    (site,) = model.latents
    active = {site: np.linspace(1, 2, model.latents[site].dim)}
    with torch.no_grad():
        return calibration(model, guide, ROWS, active, simulated=S, **given)


def test_an_exact_guide_passes():
    model = linear()
    exact = found(model, Posterior(model))
    assert list(exact.ranks) == ["z[0]", "z[1]", "log p(z)", "log p(x | z)"]
    assert exact.misfits() == {}
    assert "the ranks of all 4 quantities are uniform" in calibration_words(exact.to_dict())
    for ranks in exact.ranks.values():
        assert kstest(ranks, "uniform").pvalue > 2e-5 / 4


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"scale": 0.5}, "too narrow"),
        ({"scale": 2.0}, "too wide"),
        ({"shift": 1.0}, "too high"),
        ({"shift": -1.0}, "too low"),
    ],
)
def test_wrong_guides_fail_in_words(change, fault):
    model = linear()
    wrong = found(model, Posterior(model, **change))
    assert wrong.misfits()["z[0]"] == wrong.misfits()["z[1]"] == fault
    assert f"z[0] (draws {fault})" in calibration_words(wrong.to_dict())
    assert wrong.to_dict()["quantities"]["z[0]"]["draws_are"] == fault


def test_the_prior_fails_by_the_likelihood_alone():
    torch.manual_seed(0)
    model = SBN(BITS, hidden_dim=3, init_scale=2.0)
    wrong = found(model, Prior(model))
    assert set(wrong.misfits()) == {"log p(x | z)"}


def test_bits_of_the_posterior_are_uniform():
    """Where observations say nothing, the prior is the posterior, and all ranks are ties."""
    torch.manual_seed(0)
    model = SBN(BITS, hidden_dim=3, init_scale=1.0)
    with torch.no_grad():
        model.x_from_z.weight.zero_()
    exact = found(model, Prior(model))
    assert exact.misfits() == {}


def test_the_rate_of_false_positives_is_the_stated_one():
    rng, failures, trials = np.random.default_rng(0), 0, 1500
    limits = _band(60, 2, 0)
    for _ in range(trials):
        ranks = {name: rng.random(60) for name in "ab"}
        failures += bool(Calibration(ranks, 9, *limits).misfits())
    assert binomtest(failures, trials, FALSE_POSITIVES).pvalue > 2e-5
    assert failures > 0


def test_ties_are_ranked_at_random():
    rng = np.random.default_rng(0)
    ranks = _ranks(np.zeros(2000), np.zeros((9, 2000)), rng)
    assert kstest(ranks, "uniform").pvalue > 2e-5
    assert _ranks(np.ones(500), np.zeros((9, 500)), rng).min() > 0.9
    assert _ranks(-np.ones(500), np.zeros((9, 500)), rng).max() < 0.1


def test_the_same_seed_gives_the_same_ranks():
    model = linear()
    state = torch.get_rng_state()
    one, two = (found(model, Posterior(model), seed=3).ranks for _ in range(2))
    assert all((one[name] == two[name]).all() for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_too_few_simulations_are_refused():
    model = linear()
    with pytest.raises(UsageError, match="give at least 20"):
        calibration(model, Posterior(model), ROWS, {"z": np.ones(2)}, simulated=5)


def test_units_are_chosen_over_all_sites():
    active = {"z1": np.array([0.0, 3.0]), "z2": np.arange(9.0) + 1, "z3": np.array([math.e / 10])}
    assert most_active(active) == {"z1": [1], "z2": [2, 3, 4, 5, 6, 7, 8]}


def test_the_figure_names_what_fails():
    model = linear()
    figure = rank_differences(found(model, Posterior(model, scale=0.5)))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "z[0]: draws too narrow" in labels
