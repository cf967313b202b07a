"""Predictions, forecasts, filled gaps and checks of categorical data, against sums by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.distributions import Symbols
from pyrodgm.evaluate.posterior.predictive import (
    Summary,
    misfits,
    observed,
    p_values,
    prior_replicates,
)
from pyrodgm.evaluate.prediction.errors import sequence_errors
from pyrodgm.evaluate.prediction.forecast import forecast
from pyrodgm.evaluate.prediction.imputation_scores import imputation_scores
from pyrodgm.evaluate.prediction.impute import impute
from pyrodgm.evaluate.prediction.one_step import baseline_predictions, one_step, predictions
from pyrodgm.evaluate.trivial.predictors import baselines
from pyrodgm.guides import NoGuide, RecurrentBernoulli
from pyrodgm.models import AR, HMM, TSBN
from variants import randomised

NAN = np.nan
OWN = ((1, 2, 6), (0, 3))
X = np.array([[1, 0], [2, 3], [2, 3], [6, 0], [1, 3]], np.float32)
GAPS = np.array([[1, 0], [NAN, 3], [2, NAN], [NAN, NAN], [1, 3]], np.float32)


def splits_of(x: np.ndarray, test: np.ndarray) -> Splits:
    whole, part = Sequences(x, np.array([len(x)])), Sequences(test, np.array([len(test)]))
    return Splits.of("signs", "categorical", {"train": whole, "valid": whole, "test": part})


DATA, WITH_GAPS = splits_of(X, X), splits_of(X, GAPS)


def hot(x: np.ndarray) -> np.ndarray:
    columns = [x[..., d] == symbol for d, own in enumerate(OWN) for symbol in own]
    return np.stack(columns, -1).astype(float)


def hmm() -> HMM:
    return randomised(HMM(DATA.info, num_states=2)).float()


def joint(model: HMM, frames: Tensor) -> Tensor:
    """p(x) of all sequences (N, T, D) at once, by a sum over all sequences of states."""
    start, moves = model.cell.initial.softmax(-1), model.cell.transition.softmax(-1)
    table = torch.cat([part.softmax(-1) for part in model.by_state.split([3, 2], -1)], -1)
    found = torch.zeros(len(frames))
    places = torch.from_numpy(hot(frames.numpy())).float()
    for states in itertools.product(range(2), repeat=frames.shape[1]):
        p = start[states[0]].expand(len(frames))
        for t, state in enumerate(states):
            p = p * (moves[states[t - 1], state] if t else 1)
            for part, own in zip(
                places[:, t].split([3, 2], -1), table[state].split([3, 2]), strict=True
            ):
                p = p * (part @ own)
        found = found + p
    return found


def completions(x: np.ndarray) -> Tensor:
    """Every sequence that has these symbols where they are known, (N, T, D)."""
    choices = [OWN[d] if np.isnan(x[t, d]) else (x[t, d],) for t in range(len(x)) for d in range(2)]
    return torch.tensor(list(itertools.product(*choices))).float().view(-1, *x.shape)


def marginals(model: HMM, x: np.ndarray) -> np.ndarray:
    """Probabilities of all symbols of every frame given what is known of a sequence, (T, S)."""
    frames = completions(x)
    p = joint(model, frames)
    return np.einsum("n,nts->ts", (p / p.sum()).numpy(), hot(frames.numpy()))


@torch.no_grad()
def test_the_next_frame_has_the_probabilities_of_a_sum_over_states() -> None:
    model = hmm()
    found, nats = one_step(model, NoGuide(model), Batch.of(torch.from_numpy(X)[None]))
    for t in range(5):
        unknown = np.where(np.arange(t + 1)[:, None] < t, X[: t + 1], NAN)
        np.testing.assert_allclose(found[0, t], marginals(model, unknown)[t], atol=1e-5)
    assert float(nats.sum()) == pytest.approx(float(joint(model, torch.from_numpy(X)[None]).log()))


def test_errors_of_probabilities_by_hand() -> None:
    p = torch.tensor([0.5, 0.3, 0.2, 0.4, 0.6])
    found = sequence_errors(
        WITH_GAPS.test, lambda b: p.expand(*b.mask.shape, -1), "categorical", 1, (), Symbols(OWN)
    )
    one, two, three = 0.5**2 + 0.3**2 + 0.2**2, 0.5**2 + 0.7**2 + 0.2**2, 2 * 0.4**2
    assert found.summed[0] == pytest.approx((three + two + one + three) / 3)  # in three frames
    assert found.right[0] == pytest.approx(3 / 4)  # of 3, 2, 1, 3 the symbol 2 is not the likeliest


def test_trivial_predictors_stand_beside_the_model_with_accuracy_and_log_score() -> None:
    model = hmm()
    found = predictions(model, NoGuide(model), DATA.test, DATA.info, baselines(DATA, 1))
    trivial = baseline_predictions(baselines(DATA, 1), DATA.test, DATA.info)
    names = ["training frequencies", "copy-last", "Markov chain per feature"]
    assert list(trivial) == names
    assert list(found) == ["filtered", *names]
    copied = trivial["copy-last"]
    assert copied.nats is None  # minus infinity: it is certain, and wrong now and then
    assert copied.accuracy == pytest.approx(2 / 8)
    assert copied.squared_error == pytest.approx(2 * 6 / 4)
    frequent = trivial["training frequencies"]
    share = np.array([2.5, 2.5, 1.5, 2.5, 3.5]) / [6.5, 6.5, 6.5, 6, 6]
    assert float(frequent.nats.sum()) == pytest.approx((hot(X) * np.log(share)).sum())
    assert set(found["filtered"].to_dict()) >= {"accuracy", "nats_per_frame", "squared_error"}


def test_a_forecast_gives_probabilities_and_its_errors() -> None:
    model = AR(DATA.info, history=0)
    with torch.no_grad():
        model.x_bias.bias.copy_(torch.tensor([0.5, 0.3, 0.2, 0.4, 0.6]).log())
    found = forecast(model, NoGuide(model), DATA.test, horizon=2, samples=7)
    np.testing.assert_allclose(found.mean[0], [[0.5, 0.3, 0.2, 0.4, 0.6]] * 2, rtol=1e-5)
    assert found.quantiles.shape == (0, 1, 2, 2)
    assert hot(found.draw).sum(-1).tolist() == [[2, 2]]
    row = found.by_horizon()[0]  # 6 and 0 came, and 2 and 3 were the last
    wrong = 0.25 + 0.09 + 0.64 + 2 * 0.36
    assert row["squared_error"] == pytest.approx(wrong)
    assert (row["accuracy"], row["copy_last"], row["copy_last_accuracy"]) == (0.0, 4.0, 0.0)
    assert found.by_horizon()[1]["accuracy"] == 1.0


@torch.no_grad()
def test_gaps_are_filled_with_exact_probabilities_where_states_are_summed_out() -> None:
    model, info = hmm(), WITH_GAPS.info
    found = impute(model, NoGuide(model), WITH_GAPS.test)
    exact = marginals(model, GAPS)
    np.testing.assert_allclose(found.probabilities, exact, atol=1e-5)
    likeliest = np.stack(
        [np.array(OWN[0])[exact[:, :3].argmax(1)], np.array(OWN[1])[exact[:, 3:].argmax(1)]], 1
    )
    np.testing.assert_array_equal(found.x, np.where(np.isnan(GAPS), likeliest, GAPS))
    assert found.quantiles.shape == (0, 5, 2)
    scores = imputation_scores(found, WITH_GAPS.test, DATA.test, info)
    gap = np.isnan(GAPS)
    assert scores.accuracy["this model"] == pytest.approx((found.x == X)[gap].mean())
    assert scores.accuracy["last value seen"] == pytest.approx(1 / 4)  # 1 3 2 3 for 2 3 6 0
    assert scores.squared_error["last value seen"] == pytest.approx(2 * 3 / 4)
    each = np.repeat(gap, [3, 2], 1) * (exact - hot(X)) ** 2
    assert scores.squared_error["this model"] == pytest.approx(each.sum() / 4, rel=1e-4)


def test_particles_fill_gaps_with_symbols() -> None:
    """Of frames that do not depend on each other, by draws: 4000 of them are within 0.04."""
    model, info = AR(WITH_GAPS.info, history=0), WITH_GAPS.info
    found = impute(model, NoGuide(model), WITH_GAPS.test, samples=4000)
    p = model.emission(model.x_bias.bias[0]).probs.detach().numpy()
    exact = np.where(np.repeat(np.isnan(GAPS), [3, 2], 1), p, hot(GAPS))
    np.testing.assert_allclose(found.probabilities, exact, atol=0.04)
    latent = TSBN(info, hidden_dim=2)
    guide = RecurrentBernoulli(latent)
    filled = impute(latent, guide, WITH_GAPS.test, samples=50)
    assert hot(filled.x).sum(-1).tolist() == [2] * 5


def test_statistics_of_symbols_by_hand() -> None:
    summary = observed(DATA, "test")
    np.testing.assert_allclose(summary.feature_means[0], np.array([2, 2, 1, 2, 3]) / 5)
    assert summary.over_sequences()["persistence"][0] == pytest.approx(2 / 8)
    assert {"activity", "spread"}.isdisjoint(summary.over_sequences())
    pairs = np.zeros((5, 5))
    for before, after in itertools.pairwise(hot(X)):
        pairs += np.outer(before, after)
    own = np.zeros((5, 5), bool)
    own[:3, :3] = own[3:, 3:] = True
    np.testing.assert_array_equal(summary.pairs[0], np.where(own, pairs, 0))
    with_gaps = observed(WITH_GAPS, "test")
    np.testing.assert_allclose(
        with_gaps.feature_means[0], np.array([2 / 3, 1 / 3, 0, 1 / 3, 2 / 3])
    )


def test_a_model_without_a_past_misses_transitions_and_has_the_frequencies() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 4, (200, 1)).repeat(2, 0).astype(np.float32)  # every symbol twice
    splits = splits_of(x, x)
    model = AR(splits.info, history=0)
    data = observed(splits, "test")
    found = p_values(data, prior_replicates(model, splits, "test", draws=30))
    assert misfits(found) == {"persistence": "too low", "transitions": "off"}
    assert isinstance(data, Summary)


def test_new_data_with_fewer_symbols_is_predicted_by_those_of_the_fit() -> None:
    few = EvaluationData.of_splits(splits_of(X[:2], X[:2]), DATA.info)
    assert few.info.symbols == OWN
    model = hmm()
    found = predictions(model, NoGuide(model), few["test"], few.info, baselines(DATA, 1))
    assert np.isfinite(found["filtered"].squared_error)
