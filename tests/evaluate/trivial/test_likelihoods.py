from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from pyrodgm import data
from pyrodgm.data import local
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine.terms import terms
from pyrodgm.evaluate.likelihood import frame_scores as module
from pyrodgm.evaluate.trivial.likelihoods import NAMES, trivial_bounds
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM, LDS

RNG = np.random.default_rng(0)
LENGTHS = np.array([7, 1, 9, 3])
NAN = np.nan


def splits_of(kind, train, test, lengths=LENGTHS):
    part = Sequences(train.astype(np.float32), LENGTHS)
    scored = Sequences(test.astype(np.float32), lengths)
    return Splits.of("toy", kind, {"train": part, "valid": part, "test": scored})


def with_gaps(x, share=0.4):
    return np.where(RNG.random(x.shape) < share, NAN, x)


def pairs(x):
    """Frames and their predecessors."""
    now = np.delete(np.arange(len(x)), np.cumsum(LENGTHS)[:-1])[1:]
    return x[now - 1], x[now]


def total(bound):
    return bound.nats_per_example * bound.examples


def test_bits_score_by_smoothed_frequencies():
    x, test = (RNG.random((20, 3)) < 0.3), (RNG.random((20, 3)) < 0.3)
    rate = (x.sum(0) + 0.5) / 21
    found = trivial_bounds(splits_of("binary", x, test), "test")
    assert set(found) == {"independent", "markov"}
    expected = np.where(test, np.log(rate), np.log1p(-rate)).sum()
    assert total(found["independent"]) == pytest.approx(expected)


def chain(x):
    """Chance of one at first, after a zero and after a one, each (D,), smoothed."""
    before, now = pairs(x)
    both = ~np.isnan(before + now)

    def rate(value, weight):
        return (np.nansum(value * weight, 0) + 0.5) / (weight.sum(0) + 1)

    after = [rate(now, both & (before == state)) for state in (0, 1)]
    return rate(x, ~np.isnan(x)), *after


def marginal(row, first, off, on):
    """Probability of what was seen of one feature, over all that may have been missing."""
    whole = 0.0
    for path in product([0, 1], repeat=len(row)):
        if any(not np.isnan(x) and x != z for x, z in zip(row, path, strict=True)):
            continue
        chance = [first, *(on if z else off for z in path[:-1])]
        whole += np.prod([p if z else 1 - p for p, z in zip(chance, path, strict=True)])
    return whole


@pytest.mark.parametrize("gaps_in", ["neither", "test", "train", "both"])
def test_a_chain_of_bits_sums_out_what_is_missing(gaps_in):
    x, test = (RNG.random((2, 20, 3)) < 0.4).astype(float)
    x = with_gaps(x, 0.2) if gaps_in in ("train", "both") else x
    test = with_gaps(test) if gaps_in in ("test", "both") else test
    rates = chain(x)
    rows = np.split(test, np.cumsum(LENGTHS)[:-1])
    expected = sum(
        np.log(marginal(row[:, d], *(rate[d] for rate in rates))) for row in rows for d in range(3)
    )
    found = trivial_bounds(splits_of("binary", x, test), "test")
    assert total(found["markov"]) == pytest.approx(expected)
    seen = np.log(np.where(test == 1, rates[0], 1 - rates[0]))[~np.isnan(test)].sum()
    assert total(found["independent"]) == pytest.approx(seen)


def test_grey_values_score_by_cross_entropy_and_no_prediction_exceeds_their_entropy():
    x, test = RNG.random((2, 20, 3))
    found = trivial_bounds(splits_of("unit", x, with_gaps(test)), "test")
    test = splits_of("unit", x, test).test.x.numpy().astype(float)
    whole = trivial_bounds(splits_of("unit", x, test), "test")
    entropy = (test * np.log(test) + (1 - test) * np.log1p(-test)).sum()
    assert total(whole["entropy"]) == pytest.approx(entropy)
    for scores in (found, whole):
        assert total(scores["markov"]) < total(scores["entropy"])
        assert total(scores["independent"]) < total(scores["entropy"])


def autoregression(x):
    """Slope, offset and residual variance by least squares, of one feature."""
    before, now = pairs(x)
    both = ~np.isnan(before + now)
    slope, offset = np.polyfit(before[both], now[both], 1)
    return slope, offset, np.var(now[both] - slope * before[both] - offset)


def gaussian_chain(length, mean, variance, slope, offset, noise):
    """Mean (T,) and covariance (T, T) of one feature over time."""
    means, spread = [mean], [variance]
    for _ in range(length - 1):
        means.append(offset + slope * means[-1])
        spread.append(slope**2 * spread[-1] + noise)
    t = np.arange(length)
    lag, earlier = abs(np.subtract.outer(t, t)), np.minimum.outer(t, t)
    return np.array(means), slope**lag * np.array(spread)[earlier]


@pytest.mark.parametrize("gaps_in", ["neither", "test", "both"])
def test_a_chain_of_real_numbers_integrates_out_what_is_missing(gaps_in):
    x, test = 3 + RNG.normal(size=(2, 20, 2)).cumsum(1)
    x = with_gaps(x, 0.2) if gaps_in == "both" else x
    test = with_gaps(test) if gaps_in in ("test", "both") else test
    splits = splits_of("real", x, test)
    x, test = (part.x.numpy().astype(float) for part in (splits.train, splits.test))
    found = trivial_bounds(splits, "test")
    independent, markov = 0.0, 0.0
    for d in range(2):
        mean, variance = np.nanmean(x[:, d]), np.nanvar(x[:, d])
        independent += np.nansum(norm.logpdf(test[:, d], mean, np.sqrt(variance)))
        for row in np.split(test[:, d], np.cumsum(LENGTHS)[:-1]):
            seen = ~np.isnan(row)
            law = gaussian_chain(len(row), mean, variance, *autoregression(x[:, d]))
            if seen.any():
                markov += multivariate_normal(law[0][seen], law[1][np.ix_(seen, seen)]).logpdf(
                    row[seen]
                )
    assert set(found) == {"independent", "markov"}
    assert total(found["independent"]) == pytest.approx(independent)
    assert total(found["markov"]) == pytest.approx(markov)


def test_a_constant_feature_counts_alike_for_predictors_and_models():
    """Normal about the constant with standard deviation one, whatever a model has learnt."""
    x = RNG.normal(size=(20, 3)).astype(np.float32)
    x[:, 1] = 5.0
    test = x.copy()
    test[3:, 1] = 6.5
    both, without = splits_of("real", x, test), splits_of("real", x[:, ::2], test[:, ::2])
    own = (-0.5 * np.log(2 * np.pi) * 20 - 0.5 * 17 * 1.5**2) / 20
    with_it, rest = trivial_bounds(both, "test"), trivial_bounds(without, "test")
    for name, bound in with_it.items():
        assert bound.nats_per_frame - rest[name].nats_per_frame == pytest.approx(own, abs=1e-5)
    batch = both.test.batch(range(len(both.test)))
    hidden = replace(batch, seen=batch.mask[..., None] & torch.tensor([True, False, True]))
    for model in (AR(both.info), HMM(both.info, num_states=3), LDS(both.info, state_dim=2)):
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        with torch.no_grad():
            each = [terms(model, NoGuide(model), b).log_p.sum() for b in (batch, hidden)]
        assert float(each[0] - each[1]) / 20 == pytest.approx(own, abs=1e-4)


def test_rows_have_no_frame_before_them():
    x = RNG.normal(size=(20, 2))
    part = Sequences(x.astype(np.float32), np.ones(20))
    splits = Splits.of("rows", "real", dict.fromkeys(("train", "valid", "test"), part))
    found = trivial_bounds(splits, "test")
    assert total(found["markov"]) == pytest.approx(total(found["independent"]))


def word_shares(x):
    shares = np.nanmean(x, 0) * len(x) + 0.5
    return shares / shares.sum()


@pytest.mark.parametrize("has_gaps", [False, True])
def test_words_score_by_their_frequencies_given_how_many_there_are(has_gaps):
    x, test = RNG.poisson(3.0, (2, 20, 4)).astype(float)
    test = with_gaps(test, 0.3) if has_gaps else test
    shares = word_shares(x)
    expected = sum(
        (row[seen] * np.log(shares[seen] / shares[seen].sum())).sum()
        for row, seen in zip(test, ~np.isnan(test), strict=True)
    )
    found = trivial_bounds(splits_of("count", x, test), "test")
    assert set(found) == {"independent", "previous frame"}
    assert total(found["independent"]) == pytest.approx(expected)


def persistent_words(length):
    """Words whose shares differ from frame to frame, but little from one to the next."""
    logits = RNG.normal(size=(length, 6)).cumsum(0)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.stack([RNG.multinomial(200, p) for p in shares]).astype(float)


def by_previous_frame(x, weight, shares, lengths):
    """Nats of all words where a part of each share is that of the frame before."""
    first = np.isin(np.arange(len(x)), np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    before = np.roll(x, 1, axis=0)
    used = np.where(first[:, None], shares, before / np.maximum(before.sum(1, keepdims=True), 1))
    used[before.sum(1) == 0] = shares
    return (x * np.log(weight * used + (1 - weight) * shares)).sum()


def test_the_frame_before_helps_as_much_as_it_did_in_training():
    x, test = persistent_words(20), persistent_words(20)
    x[2] = test[4] = 0  # a frame without words says nothing about the next
    shares = word_shares(x)
    weights = np.linspace(0, 0.95, 20)
    best = max(weights, key=lambda w: by_previous_frame(x, w, shares, LENGTHS))
    assert 0.5 < best < 1
    found = trivial_bounds(splits_of("count", x, test), "test")
    expected = by_previous_frame(test, best, shares, LENGTHS)
    assert total(found["previous frame"]) == pytest.approx(expected)
    assert total(found["previous frame"]) > total(found["independent"])


def test_a_missing_frame_leaves_the_frequencies_to_predict_the_next():
    x, test = persistent_words(20), persistent_words(20)
    gaps = test.copy()
    gaps[2] = NAN
    scored = trivial_bounds(splits_of("count", x, gaps, np.array([20])), "test")["previous frame"]
    halves = np.delete(test, 2, axis=0)
    cut = trivial_bounds(splits_of("count", x, halves, np.array([2, 17])), "test")["previous frame"]
    assert total(scored) == pytest.approx(total(cut))
    assert (scored.frames, cut.frames) == (20, 19)


@pytest.mark.parametrize("kind", ["binary", "unit", "count", "real"])
def test_a_split_of_any_size_is_scored_piece_by_piece(kind, monkeypatch):
    draw = {
        "binary": lambda: RNG.integers(0, 2, (20, 3)),
        "unit": lambda: RNG.random((20, 3)),
        "count": lambda: RNG.poisson(2.0, (20, 3)),
        "real": lambda: RNG.normal(size=(20, 3)),
    }[kind]
    splits = splits_of(kind, with_gaps(draw(), 0.1), with_gaps(draw(), 0.1))
    whole = trivial_bounds(splits, "test")
    assert set(whole) <= set(NAMES)  # so that the command line can print each
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", 20)
    pieces = trivial_bounds(splits, "test")
    assert {name: total(b) for name, b in pieces.items()} == pytest.approx(
        {name: total(b) for name, b in whole.items()}
    )


@pytest.fixture
def real(real_data, monkeypatch):
    def load(name, file):
        monkeypatch.setenv(local.ENVIRONMENT, str(real_data(file).parents[1]))
        return data.load(name)

    return load


@pytest.mark.parametrize(
    ("name", "file", "independent", "markov"),
    [
        ("jsb", "jsb_chorales", (-11.00, -11.06), (-10.47, -10.47)),
        ("nottingham", "nottingham", (-10.12, -10.25), (-5.21, -5.16)),
    ],
)
def test_music_has_the_floors_that_were_measured_before(real, name, file, independent, markov):
    found = trivial_bounds(real(name, f"polyphonic/{file}.npz"), "test")
    for floor, numbers in (("independent", independent), ("markov", markov)):
        both = (found[floor].nats_per_frame_sequence_weighted, found[floor].nats_per_frame)
        assert both == pytest.approx(numbers, abs=0.006)


def test_mnist_has_the_floor_that_was_measured_before(real):
    found = trivial_bounds(real("mnist", "mnist/binarized_mnist.npz"), "test")
    # That one kept every chance a thousandth away from certainty, where these are smoothed.
    assert found["independent"].nats_per_frame == pytest.approx(-205.95, abs=0.2)


def test_walking_goes_on_as_before(real):
    found = trivial_bounds(real("mocap", "mocap/mit_mocap.npz"), "test")
    assert found["markov"].nats_per_frame > found["independent"].nats_per_frame + 10


def test_presidents_repeat_each_other(real):
    splits = real("stu", "sotu/counts_by_year.npz")
    found = trivial_bounds(splits, "test")
    tokens = np.nansum(splits.test.x.numpy())
    per_token = {name: total(bound) / tokens for name, bound in found.items()}
    assert -8 < per_token["independent"] < per_token["previous frame"] < -6
