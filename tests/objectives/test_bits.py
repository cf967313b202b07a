"""Estimators for bits: the order of their variances, their options, and what they refuse."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.stats import t as student

from oracles import FALSE_POSITIVE_RATE
from pyrodgm.batch import Batch
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import LayeredBernoulli
from pyrodgm.models import SBN
from pyrodgm.objectives import (
    ELBO,
    RLOO,
    Concrete,
    DisARM,
    DoubleCV,
    LocalRLOO,
    MuProp,
    ObjectiveELBO,
    ReinMax,
    StraightThrough,
)
from variants import INFOS, frames, pair, randomised

ROWS = 10_000
FUTURE = {"particles": 2, "signal": "future"}


def rows():
    """A sigmoid belief network of one layer, its guide, and a row."""
    model = SBN(INFOS["bernoulli"], hidden_dim=4)
    return randomised(model), randomised(LayeredBernoulli(model)), frames("bernoulli", 1)


def gradients(objective, x, monkeypatch):
    """Independent gradients on the log-odds of the guide, (rows, T J), by a leaf of its own."""
    batch, guide = Batch.of(x.expand(ROWS, -1, -1)), objective.guide
    with torch.no_grad():
        drive = guide.encode(batch)
    drive.requires_grad_()
    monkeypatch.setattr(guide, "encode", lambda _: drive)
    (found,) = torch.autograd.grad(-objective(batch).surrogate * ROWS, drive)
    monkeypatch.undo()
    return found.flatten(1)


def settled(objective, x):
    """The objective after some steps, by which a coefficient is near its value."""
    with torch.no_grad():
        for _ in range(20):
            objective(Batch.of(x.expand(1000, -1, -1)))
    return objective.eval()


def assert_in_order(objectives, x, monkeypatch):
    """Every variance is less than the next, each pair by Welch's test."""
    limit = float(student.isf(FALSE_POSITIVE_RATE / (len(objectives) - 1), ROWS - 1))
    samples = [gradients(settled(each, x), x, monkeypatch) for each in objectives]
    errors = [(each - each.mean(0)).square().sum(-1) for each in samples]
    for less, more in pairwise(errors):
        spread = math.sqrt((less.var() + more.var()) / ROWS)
        assert more.mean() - less.mean() > limit * spread


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_variances_on_rows(seed, monkeypatch):
    """With two draws of every row each."""
    torch.manual_seed(seed)
    model, guide, x = rows()
    objectives = [
        DoubleCV(model, guide, decay=0.8),
        DisARM(model, guide),
        RLOO(model, guide, particles=2),
        ELBO(model, guide, particles=2),
    ]
    assert_in_order(objectives, x, monkeypatch)


@pytest.mark.parametrize("signal", ["local", "future"])
def test_order_of_variances_on_sequences(signal, monkeypatch):
    """Locally with two draws of every frame each, and else with two paths each."""
    torch.manual_seed(0)
    model, guide = pair("tsbn")
    objectives = {
        "local": [
            DoubleCV(model, guide, decay=0.8),
            DisARM(model, guide),
            LocalRLOO(model, guide, particles=2),
        ],
        "future": [
            DoubleCV(model, guide, decay=0.8, **FUTURE),
            DisARM(model, guide, **FUTURE),
            RLOO(model, guide, **FUTURE),
            ELBO(model, guide, particles=2),
        ],
    }[signal]
    assert_in_order(objectives, frames("bernoulli", 3), monkeypatch)


def test_the_coefficient_converges_to_the_minimum_of_the_variance(monkeypatch):
    """The gradient on the log-odds is A + a B; B has mean zero."""
    torch.manual_seed(2)
    model, guide, x = rows()
    randomised(model, 2.0)
    objective = DoubleCV(model, guide, decay=0.95).eval()
    assert float(objective.scale) == -1
    parts = []
    for product in (0.0, -1.0):  # a = 0 and a = 1 on the same draws
        torch.manual_seed(3)
        objective.product.value = torch.tensor(product)
        parts.append(gradients(objective, x, monkeypatch))
    plain, control = parts[0], parts[1] - parts[0]
    best = -float((plain * control).sum() / control.square().sum())
    objective.train()
    with torch.no_grad():
        for _ in range(100):
            objective(Batch.of(x.expand(1000, -1, -1)))
    assert float(objective.scale) == pytest.approx(best, rel=0.03)
    assert abs(best + 1) > 0.06


@pytest.mark.parametrize("variant", ["tsbn", "sbn"])
def test_an_expansion_around_the_mean_field_lowers_the_variance(variant, monkeypatch):
    torch.manual_seed(0)
    (model, guide, x) = rows() if variant == "sbn" else (*pair(variant), frames("bernoulli", 3))
    objectives = [MuProp(model, guide), ELBO(model, guide)]
    assert_in_order(objectives, x, monkeypatch)


def test_a_single_path_has_no_baseline_for_later_costs():
    model, guide = pair("tsbn")
    with pytest.raises(UsageError, match="give particles=2 or more, or signal='local'"):
        DisARM(model, guide, signal="future")
    model, guide = pair("sbn")
    DisARM(model, guide, signal="future")  # rows have no later costs


@pytest.mark.parametrize("kind", [DisARM, DoubleCV])
def test_programs_without_frames_are_refused(kind):
    objective = kind(*pair("tsbn"))
    objective.guide = torch.nn.Identity()
    with pytest.raises(CompatibilityError, match="does not run frame by frame"):
        objective.trace(Batch.of(frames("bernoulli", 1, 3)))


@pytest.mark.parametrize("kind", [Concrete, DisARM, DoubleCV, ReinMax, StraightThrough])
def test_plain_programs_are_refused(kind):
    with pytest.raises(
        UsageError, match=f"{kind.__name__} needs draws that only models and guides"
    ):
        ObjectiveELBO(kind)
