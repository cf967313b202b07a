"""Predictions of the next frame against sums over all latent paths, and trivial predictors."""

import numpy as np
import pytest
import torch

from oracles import Enumerated, assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data import balls
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.distributions import BernoulliVector
from pyrodgm.errors import DataError, LeftOutWarning, UsageError
from pyrodgm.evaluate import passes
from pyrodgm.evaluate.prediction.errors import Prediction, sequence_errors
from pyrodgm.evaluate.prediction.one_step import (
    baseline_predictions,
    expected_frames,
    one_step,
    predict,
    predictions,
)
from pyrodgm.evaluate.trivial import lookback
from pyrodgm.evaluate.trivial import predictors as baselines
from pyrodgm.evaluate.trivial.kernel_ridge import DualRidgeAR
from pyrodgm.guides import GuideTraits, NoGuide, RecurrentBernoulli, StepGuide
from pyrodgm.models import AR, RNNNADE, TSBN
from variants import pair, randomised

D = 3
BITS = torch.tensor([[a, b, c] for a in (0.0, 1) for b in (0.0, 1) for c in (0.0, 1)]).double()


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


class Smoother(StepGuide):
    """Every latent sees the whole sequence."""

    traits = GuideTraits(latents="binary", sequential=True)
    history = 1

    def encode(self, batch):
        total = batch.x.sum((1, 2))[:, None, None]
        return (6 * (total % 2) - 3).expand(-1, batch.length, 2)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded))


def asked(splits, order=1):
    """What is predicted, its facts, and the trivial predictors."""
    return splits.test, splits.info, baselines.baselines(splits, order)


def copies(x, count):
    return Batch.of(x.expand(count, *x.shape).clone())


def exact_next(model, guide, x):
    """E[x_t | x_<t] by all paths and all values of x_t; x (t, D) are the frames before."""
    ahead = torch.stack(
        [Enumerated(model, guide, torch.cat([x, now[None]])).evidence() for now in BITS]
    )
    return ahead.softmax(0) @ BITS


@pytest.mark.parametrize("variant", ["tsbn", "tsbn order 2", "dtsbn-s", "dtsbn-d order 2"])
def test_filtered_predictions_are_the_conditional_means(variant):
    model, guide = pair(variant)
    randomised(model, 0.5), randomised(guide, 0.5)
    x = torch.rand(3, D).double().round()
    exact = torch.stack([exact_next(model, guide, x[:t]) for t in range(3)])
    found, _ = one_step(model, guide, copies(x, 30), samples=1500)
    assert_mean(found, exact)


def test_predictions_by_one_sample_are_those_of_one_path_of_the_guide():
    model, guide = pair("tsbn")
    x = torch.rand(3, D).double().round()
    exact = []
    for t in range(3):
        mean = torch.zeros(D).double()
        for now in BITS:
            paths = Enumerated(model, guide, torch.cat([x[:t], now[None]]))
            q = paths.log_q[:, :t].sum(-1).exp()
            mean += (q * paths.log_p[:, t].exp()).sum() * now
        exact.append(mean)
    found, nats = one_step(model, guide, copies(x, 20_000), samples=1)
    assert_mean(found, torch.stack(exact))
    assert_mean(nats.sum(-1)[:, None], Enumerated(model, guide, x).elbo())


@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("look_ahead", [False, True])
def test_what_is_expected_of_a_frame_depends_on_earlier_frames_alone(history, look_ahead):
    info = DataInfo("tiny", "binary", D, (0.5,) * D, 6.0, 6)
    model = TSBN(info, hidden_dim=2, init_scale=2.0, history=history)
    guide = (Smoother if look_ahead else RecurrentBernoulli)(model)
    x = torch.rand(1, 6, D).round()
    changed = x.clone()
    changed[0, 3] = 1 - changed[0, 3]
    one, two = (expected_frames(model, guide, Batch.of(each))[0] for each in (x, changed))
    assert torch.equal(one[:4], two[:4])
    assert not torch.allclose(one[4], two[4])


def test_a_guide_that_looks_ahead_predicts_as_well_as_the_weights_say():
    model, guide = pair("tsbn")
    x = torch.rand(3, D).double().round()
    exact = torch.stack([exact_next(model, guide, x[:t]) for t in range(3)])
    found, _ = one_step(model, Smoother(model), copies(x, 30), samples=3000)
    assert_mean(found, exact)


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    parts = {
        name: Sequences((rng.random((lengths.sum(), D)) < 0.4).astype(np.uint8), lengths)
        for name, lengths in {
            "train": np.array([9, 8, 7]),
            "valid": np.array([5, 6]),
            "test": np.array([4, 1, 3]),
        }.items()
    }
    return Splits.of("toy", "binary", parts)


def test_the_model_stands_beside_trivial_predictors(splits):
    model = TSBN(splits.info, hidden_dim=2)
    guide = RecurrentBernoulli(model)
    found = predictions(model, guide, *asked(splits), samples=3)
    assert list(found) == ["filtered", "training mean", "copy-last", "linear AR(1)"]
    assert found["filtered"].samples == 3
    assert found["filtered"].nats_per_frame is not None
    assert found["copy-last"].nats_per_frame is None
    x = splits.test.x.float().numpy()
    expected = [np.square(np.diff(x[:4], axis=0)).sum(1).mean(), np.nan,
                np.square(np.diff(x[5:], axis=0)).sum(1).mean()]  # fmt: skip
    copied = found["copy-last"]
    np.testing.assert_allclose(copied.errors, expected, rtol=1e-6)
    kept = np.array(expected)[[0, 2]]
    assert copied.squared_error == pytest.approx(kept.mean())
    assert copied.sd == pytest.approx(kept.std(ddof=1))
    assert copied.standard_error == pytest.approx(kept.std(ddof=1) / np.sqrt(2))
    again = predictions(model, guide, *asked(splits), samples=3)
    np.testing.assert_array_equal(again["filtered"].errors, found["filtered"].errors)


def test_without_latents_one_sample_is_as_good_as_many(splits):
    model = AR(splits.info, history=2)
    guide = NoGuide(model)
    found = predictions(model, guide, *asked(splits, order=2))
    assert "linear AR(2)" in found
    one = predict(model, guide, splits.test, kind="binary", samples=1)
    np.testing.assert_allclose(one.errors, found["filtered"].errors, rtol=1e-6)


def test_bits_that_depend_on_each_other_are_predicted_by_draws(splits):
    model = randomised(RNNNADE(splits.info, hidden_dim=2)).float()
    batch = splits.test.batch([0])
    found = expected_frames(model, NoGuide(model), batch, samples=2000)[0, 0]
    law = {}

    def draw(name, distribution):
        law[name] = distribution
        return torch.zeros(D)

    from pyrodgm.engine.past import Past

    model.step(draw, Past({"x": torch.zeros(1, D)}), None, torch.tensor(0))
    exact = law["x"].log_prob(BITS.float()[:, None]).exp()[:, 0] @ BITS.float()
    assert torch.allclose(found, exact, atol=0.05)


def test_only_what_was_seen_is_scored_and_counts_are_scaled_to_their_total():
    x = np.array([[1, 2], [3, np.nan], [5, 7]], np.float32)
    sequences = Sequences(x, np.array([3]), fill=np.array([0.0, 9.0]))
    zero = sequence_errors(sequences, lambda batch: torch.zeros_like(batch.x), "real", 1).summed
    assert zero[0] == pytest.approx((9 + 25 + 49) / 2)
    counts = Sequences(np.array([[1, 1], [6, 2]], np.uint8), np.array([2]))
    even = sequence_errors(counts, lambda batch: torch.ones_like(batch.x), "count", 1).summed
    assert even[0] == pytest.approx(2 * 2**2)


def test_numbers_of_a_prediction_by_hand():
    nats = np.array([-4.0, -2.0, -3.0])
    found = Prediction("any", 1, np.array([1.0, np.nan, 3.0]), None, nats, 6)
    assert found.squared_error == 2.0
    assert found.sd == pytest.approx(2**0.5)
    assert found.standard_error == pytest.approx(1.0)
    assert found.nats_per_frame == -9.0 / 6
    assert found.standardised_error is None


def test_errors_in_variances_know_no_units():
    """By hand; constant features and gaps do not count, and the training mean comes to one."""
    x = np.array([[0, 0, 5], [1e3, np.nan, 5], [3e3, 2e-3, 5]], np.float32)
    sequences = Sequences(x, np.array([3]))
    found = sequence_errors(
        sequences, lambda batch: torch.zeros_like(batch.x), "real", 1, (1e3, 1e-3, 0.0)
    )
    assert found.standardised[0] == pytest.approx((1 + 9 + 4) / 3)
    noise = np.random.default_rng(0).normal(3.0, [1e3, 1e-3], (4000, 2)).astype(np.float32)
    part = Sequences(noise, np.array([4000]))
    splits = Splits.of("noise", "real", dict.fromkeys(("train", "valid", "test"), part))
    errors = baseline_predictions(baselines.baselines(splits, 1), splits.test, splits.info)[
        "training mean"
    ]
    assert errors.standardised_error == pytest.approx(1.0, rel=1e-3)


def test_padding_and_frames_of_which_nothing_was_seen_are_no_predictions():
    nan = np.nan
    x = np.array([[1, 1], [nan, nan], [1, 1], [1, 1], [1, 1], [3, 0], [0, 0]], np.float32)
    sequences = Sequences(x, np.array([3, 1, 3]), fill=np.array([1.0, 1.0]))
    zero = sequence_errors(sequences, lambda batch: torch.zeros_like(batch.x), "count", 1).summed
    assert zero[0] == 2
    assert np.isnan(zero[1])
    assert zero[2] == 9 / 2
    last = sequence_errors(
        sequences, lambda b: baselines.lags(b.x * b.mask[..., None], 1), "count", 1
    ).summed
    assert last[2] == pytest.approx(2 * 1.5**2 / 2)  # the third frame has no token to predict


def test_over_gaps_the_last_values_are_carried_on():
    nan = np.nan
    x = np.array([[nan, 5], [2, nan], [nan, nan], [nan, 7], [4, 8]], np.float32)
    sequences = Sequences(x, np.array([5]), fill=np.array([0.5, 6.0]))
    found = baselines.carried(sequences.batch([0]))[0]
    assert found.tolist() == [[0.5, 5], [2, 5], [2, 5], [2, 7], [4, 8]]


def test_gaps_at_random_leave_the_autoregression_where_it_was():
    whole = autoregression([4000], 0)
    centre = whole.x.mean(0)
    gaps = whole.x.numpy().copy()
    gaps[np.random.default_rng(1).random(len(gaps)) < 0.3, 1] = np.nan
    holey = Sequences(gaps, whole.lengths, fill=centre.numpy())
    full, found = baselines.Moments(whole, 1, centre), baselines.Moments(holey, 1, centre)
    # The inputs differ, since older values stand in; what is predicted must not be pulled to zero.
    assert found.square == pytest.approx(full.square, rel=0.05)
    np.testing.assert_allclose(found.cross[0], full.cross[0], rtol=0.1)


def test_what_cannot_be_predicted_is_refused(splits):
    model = TSBN(splits.info, hidden_dim=2)
    guide = RecurrentBernoulli(model)
    rows = Sequences(np.ones((2, D), np.uint8), np.array([1, 1]))
    with pytest.raises(DataError, match="no sequence has a second frame"):
        predict(model, guide, rows, kind="binary")
    with pytest.raises(UsageError, match="samples is 0"):
        predict(model, guide, splits.test, kind="binary", samples=0)


def autoregression(lengths, seed):
    """An order-2 process with an offset."""
    rng = np.random.default_rng(seed)
    first, second = 0.5 * np.eye(2) + 0.2, np.array([[0.0, 0.3], [-0.3, 0.0]])
    parts = []
    for length in lengths:
        x = [np.zeros(2), np.zeros(2)]
        for _ in range(length):
            x.append(x[-1] @ first * 0.7 + x[-2] @ second + rng.normal(size=2) + 1)
        parts.append(np.array(x[2:]))
    return Sequences(np.concatenate(parts).astype(np.float32), np.array(lengths))


def test_linear_autoregression_is_least_squares(monkeypatch):
    monkeypatch.setattr(lookback, "FRAMES_AT_ONCE", 50)
    train, valid = autoregression([40, 60, 30], 0), autoregression([20], 1)
    centre = train.x.mean(0)
    ridge = baselines.RidgeAR(train, valid, 2, centre, (1e-9,))
    inputs, outputs = [], []
    for row in range(3):
        x = (train.sequence(row) - centre).double().numpy()
        before = np.concatenate([x[:1], x])[:-2]
        inputs.append(np.concatenate([x[:-1], before], 1))
        outputs.append(x[1:])
    weight = np.linalg.lstsq(np.concatenate(inputs), np.concatenate(outputs), rcond=None)[0]
    np.testing.assert_allclose(ridge.weight.numpy(), weight, atol=1e-4)
    batch = valid.batch([0])
    x = (valid.x - centre).numpy()
    lagged = np.concatenate([x[4], x[3]])
    np.testing.assert_allclose(ridge(batch)[0, 5], lagged @ weight + centre.numpy(), atol=1e-3)


def test_the_penalty_is_the_best_on_validation():
    few, valid = autoregression([8], 0), autoregression([400], 1)
    centre = few.x.mean(0)
    ridge = baselines.RidgeAR(few, valid, 2, centre)
    held_out = baselines.Moments(valid, 2, centre)
    errors = {}
    for penalty in baselines.PENALTIES:
        fitted = baselines.Moments(few, 2, centre)
        eye = torch.eye(4).double() * fitted.gram.diagonal().mean() * penalty
        errors[penalty] = held_out.error(torch.linalg.solve(fitted.gram + eye, fitted.cross))
    assert ridge.penalty == min(errors, key=errors.get) > baselines.PENALTIES[0]
    direct = sequence_errors(valid, ridge, "real", 1).summed[0]
    assert direct == pytest.approx(errors[ridge.penalty], rel=1e-4)


@pytest.mark.parametrize("gaps", [False, True])
def test_the_dual_form_is_the_same_autoregression(double_precision, monkeypatch, gaps):
    monkeypatch.setattr(lookback, "FRAMES_AT_ONCE", 4)
    few, valid = autoregression([4, 3], 0), autoregression([6, 9], 1)
    centre = few.x.mean(0).double()
    if gaps:
        x = few.x.numpy().copy()
        x[[2, 5], 1] = np.nan
        few = Sequences(x, few.lengths, fill=centre.numpy())
    given = (few, valid, 4, centre, baselines.PENALTIES)
    primal, dual = baselines.RidgeAR(*given), DualRidgeAR(*given)
    assert dual.penalty == primal.penalty
    batch = valid.batch([0, 1])
    torch.testing.assert_close(dual(batch), primal(batch), rtol=1e-7, atol=1e-9)


def wide_splits(frames, dim):
    x = np.random.default_rng(0).random((frames, dim), dtype=np.float32)
    part = Sequences(x, np.array([frames // 2, frames - frames // 2]))
    return Splits.of("wide", "unit", dict.fromkeys(("train", "valid", "test"), part))


def test_wide_frames_are_a_system_of_frames(monkeypatch):
    """And not of (order x D)^2 numbers, which here would be 2 GB each."""
    sizes, solve = [], torch.linalg.solve
    monkeypatch.setattr(
        torch.linalg, "solve", lambda a, b: sizes.extend([a.numel(), b.numel()]) or solve(a, b)
    )
    wide = wide_splits(20, 4096)
    found = baseline_predictions(baselines.baselines(wide, 4), wide.test, wide.info)
    assert "linear AR(4)" in found
    assert max(sizes) == 18 * 4096


def test_an_autoregression_dearer_than_all_else_is_left_out_with_a_word(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_NUMBERS", 500)
    with pytest.warns(LeftOutWarning, match=r"'linear AR\(1\)' is omitted: .* 18 by 30"):
        found = baselines.baselines(wide_splits(20, 30), 1)
    assert list(found) == ["training mean", "copy-last", "linear extrapolation"]


def test_without_second_frames_in_training_the_autoregression_is_the_mean():
    single = Sequences(np.eye(3, dtype=np.float32), np.array([1, 1, 1]))
    pair = Sequences(np.eye(3, dtype=np.float32)[:2], np.array([2]))
    splits = Splits.of("rows", "real", {"train": single, "valid": single, "test": pair})
    found = baselines.baselines(splits, 1)["linear AR(1)"](splits.test.batch([0]))
    expected = torch.full((1, 2, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(splits.test.uncentred(found), expected)


def test_extrapolation_goes_on_in_a_straight_line_within_the_limits():
    x = torch.tensor([0.0, 0.4, 0.8, 0.8])[None, :, None]
    found = baselines.extrapolate(x)[0, 1:, 0]
    assert torch.allclose(found, torch.tensor([0.0, 0.8, 1.2]))
    part = Sequences(x[0].numpy(), np.array([4]))
    splits = Splits.of("grey", "unit", dict.fromkeys(("train", "valid", "test"), part))
    limited = baselines.baselines(splits, 1)["linear extrapolation"](Batch.of(x))
    assert torch.allclose(limited[0, 1:, 0], torch.tensor([0.0, 0.8, 1.0]))
    whole = Sequences((5 * x[0]).numpy(), np.array([4]))
    counts = Splits.of("counts", "count", dict.fromkeys(("train", "valid", "test"), whole))
    assert list(baselines.baselines(counts, 1)) == ["training mean", "copy-last"]


def test_trivial_predictors_of_balls_do_as_published_ones():
    """Squared errors of 200 videos are 11.87 and 6.79, which vary by 0.3 from video to video."""
    splits = balls.load(num_train=2, num_valid=2, num_test=40)
    for name, error in (("copy-last", 11.87), ("linear extrapolation", 6.84)):
        predictor = baselines.baselines(splits, 1)[name]
        errors = sequence_errors(splits.test, predictor, "unit", 1).summed
        assert abs(errors.mean() - error) < 4.3 * 0.3 / np.sqrt(40) + 0.03


@pytest.mark.parametrize("causal", [True, False])
def test_prediction_tells_how_far_it_is(splits, causal):
    model = TSBN(splits.info, hidden_dim=2)
    guide = (RecurrentBernoulli if causal else Smoother)(model)
    told = []
    predict(model, guide, splits.test, kind="binary", samples=2, progress=told.append)
    assert told == sorted(told)
    assert 0 < told[0] < told[-1] == pytest.approx(1.0)


def test_particles_that_move_together_are_fewer_where_frames_are_wide(monkeypatch):
    part = Sequences(np.zeros((40, 50), np.uint8), np.full(20, 2))
    assert [len(rows) for rows in passes.portions(part, 10)] == [20]
    monkeypatch.setattr(passes, "PARTICLE_NUMBERS_AT_ONCE", 50 * 40)
    assert [len(rows) for rows in passes.portions(part, 10)] == [4] * 5


def test_slow_motion_is_summed_in_double_precision():
    """Lags of a slow wave are nearly the same, so that the normal equations cancel."""
    t = 0.01 * np.arange(400)[:, None]
    x = np.sin(t * np.array([1.0, 2.0])).astype(np.float32)
    frames, centre = Sequences(x, np.array([400])), torch.zeros(2)
    found = baselines.Moments(frames, 3, centre)
    exact = sum(u.double().T @ u.double() for u, _, _ in baselines.pairs(frames, 3, centre))
    torch.testing.assert_close(found.gram, exact, rtol=1e-13, atol=0)
