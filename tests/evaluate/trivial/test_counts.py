"""Counts whose totals are scored: hidden Markov models, trivial predictors and checks of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.compare import compare
from pyrodgm.evaluate.posterior.predictive import misfits, observed, p_values, prior_replicates
from pyrodgm.evaluate.prediction.one_step import predictions
from pyrodgm.evaluate.trivial.likelihoods import trivial_bounds
from pyrodgm.evaluate.trivial.predictors import baselines
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM
from variants import path_log_probs, randomised

X = np.array([[2, 0], [3, 9], [1, 4], [7, 5], [2, np.nan], [0, 1]], np.float32)
LENGTHS = np.array([4, 2])


def splits_of(x: np.ndarray, lengths: np.ndarray) -> Splits:
    part = Sequences(x, lengths)
    return Splits.of("spikes", "count", {"train": part, "valid": part, "test": part})


@pytest.mark.parametrize("emission", ["poisson", "negative-binomial"])
def test_a_hidden_markov_model_is_the_sum_over_all_states(emission: str) -> None:
    splits = splits_of(X[:4], np.array([4]))
    model = randomised(HMM(splits.info, num_states=2, emission=emission))
    start, moves = model.cell.initial.softmax(-1), model.cell.transition.softmax(-1)
    law = model.emission(model.by_state)
    mean = law.mean.detach().numpy()
    if emission == "poisson":
        exact = poisson(mean)
    else:
        shape = law.log_shape.exp().detach().numpy()
        exact = nbinom(shape, shape / (shape + mean))
    emitted = torch.from_numpy(exact.pmf(X[:4, None]).prod(-1))  # (T, 2)
    total = torch.zeros(()).double()
    for states in itertools.product(range(2), repeat=4):
        p = start[states[0]] * emitted[range(4), states].prod()
        total = total + p * torch.stack([moves[a, b] for a, b in itertools.pairwise(states)]).prod()
    found = path_log_probs(model, Batch.of(torch.from_numpy(X[None, :4]).double()), {})["x"]
    torch.testing.assert_close(found.sum(), total.log())


def test_trivial_predictors_score_totals_by_hand() -> None:
    splits = splits_of(X, LENGTHS)
    found = trivial_bounds(splits, "test", totals=True)
    assert list(found) == ["independent", "previous frame"]
    total = 0.0
    for d, (number, sum_) in enumerate([(6, 15), (5, 19)]):
        mean, x = (sum_ + 0.5) / (number + 1), X[~np.isnan(X[:, d]), d].astype(float)
        more = (np.square(x - mean) - mean).sum()
        assert more > 0
        shape = number * mean**2 / more
        total += nbinom(shape, shape / (shape + mean)).logpmf(x).sum()
    assert found["independent"].nats_per_example == pytest.approx(total / 2)
    assert found["previous frame"].nats_per_frame >= found["independent"].nats_per_frame


def test_one_feature_is_scored_predicted_and_checked_as_it_is() -> None:
    x = np.random.default_rng(0).poisson(3.0, (400, 1)).astype(np.float32)
    splits = splits_of(x, np.array([200, 200]))
    model = AR(splits.info, history=0)
    guide = NoGuide(model)
    model.x_bias.requires_grad_(False)
    found = predictions(model, guide, splits.test, splits.info, baselines(splits, 1))
    later = np.concatenate([x[1:200], x[201:]])
    mean = float(x.mean())
    assert found["filtered"].squared_error == pytest.approx(np.square(later - mean).mean(), 1e-3)
    trivial = found["training mean"].squared_error
    assert trivial == pytest.approx(found["filtered"].squared_error, 1e-3)
    exact = poisson(mean).logpmf(x).sum() / 400
    assert found["filtered"].nats_per_frame == pytest.approx(exact, rel=1e-3)
    data = observed(splits, "test", totals=True)
    p = p_values(data, prior_replicates(model, splits, "test", draws=50))
    assert misfits(p, level=2e-5) == {}
    with torch.no_grad():
        model.x_bias.bias.add_(1.0)
    p = p_values(data, prior_replicates(model, splits, "test", draws=50))
    assert misfits(p)["activity"] == "too high"


def test_fits_of_two_measures_are_not_compared() -> None:
    class Fit:
        def __init__(self, emission: str) -> None:
            self.splits = splits_of(X, LENGTHS)
            self.model = AR(self.splits.info, emission=emission)
            self.guide = NoGuide(self.model)

    with pytest.raises(UsageError, match="cannot be compared"):
        compare({"one": Fit("poisson"), "other": Fit("multinomial")})
