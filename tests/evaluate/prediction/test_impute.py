"""Filled gaps against exact conditionals."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from oracles import Enumerated, assert_mean
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.distributions import BernoulliVector
from pyrodgm.distributions.missing import given_seen
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.evaluate.prediction.completing_filter import CompletingFilter, Completion, bridged
from pyrodgm.evaluate.prediction.impute import impute
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM, LDS, RNN
from variants import D, frames, mild, pair, randomised

pytestmark = pytest.mark.usefixtures("double_precision")


def with_gaps(x, places):
    """x (T, D) without the features at these places."""
    x = x.clone()
    for t, d in places:
        x[t, d] = math.nan
    return x


def split_of(x, copies):
    return Sequences(
        np.tile(x.numpy(), (copies, 1)).astype(np.float32),
        np.full(copies, len(x)),
        fill=np.full(x.shape[1], 0.4),
    )


def completions(x):
    """Every way to fill the gaps of x with bits, and the bits of each, (S, gaps)."""
    places = x.isnan().nonzero()
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * len(places)).view(-1, len(places))
    rows = x.repeat(len(bits), 1, 1)
    rows[:, places[:, 0], places[:, 1]] = bits
    return rows, bits


def exact_bits(evidence, x):
    rows, bits = completions(x)
    return torch.stack([evidence(row) for row in rows]).softmax(0) @ bits


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d", "dtsbn-s"])
@pytest.mark.parametrize("places", [[(1, 1)], [(0, 2), (1, 0), (1, 1), (1, 2)]])
def test_gaps_are_filled_given_all_that_was_seen(variant, places):
    """One entry in the middle; and one in the first frame with the whole second one."""
    model, guide = mild(variant)
    x = with_gaps(torch.rand(3, D).round(), places)
    exact = exact_bits(lambda row: Enumerated(model, guide, row).evidence(), x)
    split = split_of(x, 120)
    found = impute(model, guide, split, samples=800)
    gaps = torch.from_numpy(found.x).double().view(120, 3, D)[:, x.isnan()]
    assert_mean(gaps, exact, power=0.1)
    seen = ~torch.isnan(split.x)
    assert np.array_equal(found.seen, seen.numpy())
    assert np.array_equal(found.x[found.seen], split.x[seen].numpy())
    assert (found.quantiles[:, found.seen] == found.x[found.seen]).all()
    assert found.missing == 120 * len(places)
    assert set(np.unique(found.quantiles[:, ~found.seen])) <= {0.0, 1.0}


def test_what_comes_later_counts():
    """The frame after a gap repeats it: only a smoother can tell."""
    info = DataInfo("x", "binary", 1, (0.5,), 3.0, 3)
    model = AR(info)
    for parameter in model.parameters():
        parameter.zero_()
    model.linear.weight.fill_(8.0)
    model.x_bias.bias[1] = -4.0
    for after in (0.0, 1.0):
        x = torch.tensor([[math.nan], [after]])
        found = impute(model.double(), NoGuide(model), split_of(x, 1), samples=2000)
        assert found.x[0, 0] == pytest.approx(1 / (1 + math.exp(-8 * (after - 0.5))), abs=0.02)
        filtered = impute(model, NoGuide(model), split_of(x, 1), samples=2000, lag=0)
        assert filtered.x[0, 0] == pytest.approx(0.5, abs=0.05)


def test_a_gap_is_told_by_as_many_frames_as_the_lag():
    model, guide = mild("tsbn")
    x = with_gaps(torch.rand(4, D).round(), [(0, 0)])
    for lag in (0, 1, 2):
        exact = exact_bits(lambda row: Enumerated(model, guide, row).evidence(), x[: lag + 1])
        found = impute(model, guide, split_of(x, 120), samples=800, lag=lag)
        gaps = torch.from_numpy(found.x).double().view(120, 4, D)[:, x.isnan()]
        assert_mean(gaps, exact, power=0.1)


def test_gaps_are_bridged_by_straight_lines():
    rows = [torch.rand(length, 3) for length in (7, 4)]
    rows[0][2:5, 0] = rows[0][:3, 1] = rows[0][5:, 2] = rows[1][:, 1] = rows[1][1, 0] = math.nan
    split = Sequences(torch.cat(rows).numpy(), np.array([7, 4]), fill=np.full(3, 9.0))
    batch = split.batch([0, 1])
    expected = torch.zeros(2, 7, 3)
    for place, row in enumerate(rows):
        for d in range(3):
            known = ~row[:, d].isnan()
            line = (
                np.interp(np.arange(len(row)), known.nonzero()[:, 0], row[known, d])
                if known.any()
                else np.full(len(row), 9.0)
            )
            expected[place, : len(row), d] = torch.from_numpy(line)
    torch.testing.assert_close(bridged(batch), expected)
    whole = Sequences(rows[0].nan_to_num().numpy(), np.array([7])).batch([0])
    assert bridged(whole) is whole.x


def test_a_filter_with_states_completes_too():
    info = DataInfo("x", "binary", 2, (0.5, 0.5), 4.0, 4)
    model = randomised(RNN(info, hidden_dim=3), 0.8)
    guide = NoGuide(model)
    x = with_gaps(torch.rand(4, 2).round(), [(0, 1), (2, 0), (2, 1)])

    def evidence(row):
        batch = split_of(row, 1).batch([0])
        return terms(model, guide, batch).log_p.sum()

    found = impute(model, guide, split_of(x, 40), samples=500)
    gaps = torch.from_numpy(found.x).double().view(40, 4, 2)[:, x.isnan()]
    assert_mean(gaps, exact_bits(evidence, x))


def test_the_gaps_of_a_hidden_markov_model_are_filled_exactly():
    """Sequences of two lengths, given all that was seen; quantiles are those of draws."""
    info = DataInfo("x", "binary", 2, (0.5, 0.5), 4.0, 4)
    model = randomised(HMM(info, num_states=3), 0.8)
    guide = NoGuide(model)
    rows = [
        with_gaps(torch.rand(4, 2).round(), [(0, 1), (2, 0), (2, 1)]),
        with_gaps(torch.rand(2, 2).round(), [(0, 0)]),
    ]
    fill = np.full(2, 0.4)
    split = Sequences(torch.cat(rows).float().numpy(), np.array([4, 2]), fill=fill)

    def evidence(row):
        return terms(model, guide, split_of(row, 1).batch([0])).log_p.sum()

    found = impute(model, guide, split)
    gaps = torch.from_numpy(found.x)[torch.cat(rows).isnan()].double()
    exact = torch.cat([exact_bits(evidence, row) for row in rows])
    torch.testing.assert_close(gaps, exact, atol=1e-6, rtol=0)
    assert set(np.unique(found.quantiles[:, ~found.seen])) <= {0.0, 1.0}
    means = impute(model, guide, split, means=True, quantiles=(0.5,)).quantiles[0, ~found.seen]
    assert set(means) <= set(model.emission(model.by_state).mean.float().numpy().flatten())


def test_a_linear_dynamical_system_is_smoothed_as_a_normal_vector_is():
    info = DataInfo("x", "real", 2, (1.0, -2.0), 3.0, 3, std=(2.0, 0.5))
    model = LDS(info, state_dim=2).double()
    mean, covariance = joint_normal(model, 3)
    x = mean.view(3, 2) + torch.randn(3, 2)
    x[1, 0] = x[2, 0] = math.nan
    seen = ~x.flatten().isnan()
    gain = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, ~seen]).T
    exact = mean[~seen] + gain @ (x.flatten()[seen] - mean[seen])
    variance = covariance[~seen][:, ~seen] - gain @ covariance[seen][:, ~seen]
    found = impute(model, NoGuide(model), split_of(x, 40), samples=2000, quantiles=(0.2, 0.8))
    gaps = torch.from_numpy(found.x).double().view(40, 3, 2)[:, x.isnan()]
    torch.testing.assert_close(gaps, exact.expand(40, -1), atol=1e-5, rtol=0)
    width = float(norm.ppf(0.8)) * variance.diagonal().sqrt()
    for sign, quantile in zip((-1, 1), found.quantiles, strict=True):
        value = torch.from_numpy(quantile).double().view(40, 3, 2)[:, x.isnan()].mean(0)
        torch.testing.assert_close(value, exact + sign * width, atol=0.05, rtol=0)


def joint_normal(model, length):
    """Mean and covariance of all frames of a linear dynamical system, end to end."""
    (a, q), c = model.dynamics(), model.loading
    size = len(a)
    moves = torch.zeros(length * size, length * size)
    for t in range(length):
        for s in range(t + 1):
            power = torch.linalg.matrix_power(a, t - s)
            moves[t * size : (t + 1) * size, s * size : (s + 1) * size] = power
    noise = torch.block_diag(model.log_initial.exp().diag(), *[q] * (length - 1))
    states = moves @ noise @ moves.T
    big = torch.block_diag(*[c] * length)
    spread = model.inputs.scale.repeat(length)
    observed = (model.log_noise.exp() + 1e-4).repeat(length).diag()
    covariance = spread[:, None] * (big @ states @ big.T + observed) * spread
    start = torch.cat([model.initial_mean, torch.zeros((length - 1) * size)])
    standard = big @ moves @ start + model.offset.repeat(length)
    return model.inputs.centre.repeat(length) + spread * standard, covariance


def test_sequences_of_unequal_length_are_completed_side_by_side():
    model, guide = mild("tsbn order 2")
    rows = [with_gaps(torch.rand(length, D).round(), [(0, 0)]) for length in (3, 1, 2)]
    x = torch.cat(rows).numpy().astype(np.float32)
    split = Sequences(x, np.array([3, 1, 2]), fill=np.full(D, 0.5))
    found = impute(model, guide, split, samples=20_000)
    exact = [exact_bits(lambda row: Enumerated(model, guide, row).evidence(), row) for row in rows]
    np.testing.assert_allclose(found.x[~found.seen], torch.cat(exact), atol=0.05)


def test_grey_gaps_take_means():
    model, guide = mild("tsbn")
    x = with_gaps(torch.rand(3, D), [(1, 1)])
    found = impute(model, guide, split_of(x, 1), samples=20, means=True)
    assert 0 < found.quantiles[1, 1, 1] < 1


def test_paths_are_those_of_the_survivors():
    """A single particle is left before the last frame; its past is that of all."""
    model, guide = mild("tsbn")
    x = with_gaps(torch.rand(3, D).round(), [(t, 0) for t in range(3)])
    found = CompletingFilter(model, guide, split_of(x, 1).batch([0]), 50, means=False)
    found.threshold = 0.0
    found.advance()
    found.advance()
    before = {t: completion.frame for t, completion in found.frames.items()}
    found.choose(torch.full((50, 1), 7))
    found.advance()
    for t, frame in before.items():
        completion = found.frames[t]
        assert torch.equal(completion.frame, frame[7].expand(50, -1, -1))
        assert completion.different(found.weights) == pytest.approx(1)
        assert torch.equal(completion.kept, frame)  # for a single one is not enough
    assert [t for t, _ in found.settled()] == [0, 1, 2]
    assert not found.frames


def test_a_completion_learns_for_as_long_as_enough_are_left():
    frame = torch.rand(20, 2, 3)
    completion, even = Completion(frame), torch.full((20, 2), 1 / 20)
    assert completion.different(even).tolist() == pytest.approx([20, 20])
    index = torch.stack([torch.arange(20) // 2, torch.zeros(20).long()], 1)
    completion.choose(index)
    assert completion.different(even).tolist() == pytest.approx([10, 1])
    completion.learn(even)  # the frame itself: however few
    assert torch.equal(completion.kept[:, 1], frame[:1, 1].expand(20, -1))
    uneven = torch.rand(20, 2).softmax(0)
    completion.learn(uneven)
    assert torch.equal(completion.weights, torch.stack([uneven[:, 0], even[:, 1]], 1))
    completion.choose(torch.zeros(20, 2).long())
    completion.learn(even)
    completion.learn(uneven)
    assert torch.equal(completion.kept[:, 0], frame[index[:, 0], 0])
    assert torch.equal(completion.weights[:, 0], uneven[:, 0])


def test_what_cannot_be_filled_is_refused():
    model, guide = mild("tsbn")
    whole = Sequences(np.ones((2, D), np.uint8), np.array([2]))
    with pytest.raises(DataError, match="no missing values"):
        impute(model, guide, whole)
    gaps = split_of(with_gaps(torch.ones(2, D), [(0, 0)]), 1)
    with pytest.raises(UsageError, match="samples is 0"):
        impute(model, guide, gaps, samples=0)
    with pytest.raises(UsageError, match="lag is -1"):
        impute(model, guide, gaps, lag=-1)
    counts, counting = pair("tsbn", "multinomial")
    with pytest.raises(CompatibilityError, match="CountVector cannot draw some features"):
        impute(counts, counting, gaps)


def test_whole_frames_of_counts_are_filled():
    model, guide = pair("tsbn", "multinomial")
    x = with_gaps(frames("multinomial", 5), [(2, d) for d in range(D)])
    found = impute(model, guide, split_of(x, 1), samples=50)
    total = model.emission.total
    assert found.x[2].sum() == pytest.approx(total, rel=1e-3)
    assert not np.isnan(found.x).any()


def test_independent_features_say_nothing_of_each_other():
    law = BernoulliVector(torch.zeros(2))
    assert given_seen(law, torch.ones(2), torch.tensor([True, False])) is law
