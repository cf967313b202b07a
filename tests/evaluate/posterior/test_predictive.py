import numpy as np
import pytest
import torch

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.engine.programs import generate
from pyrodgm.evaluate.posterior.datatree import to_datatree
from pyrodgm.evaluate.posterior.predictive import (
    FEATURE_MEANS,
    Summary,
    misfits,
    observed,
    p_values,
    posterior_replicates,
    prior_replicates,
)
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import HMSBN, TSBN

DIM, HIDDEN, DRAWS = 4, 5, 60
LENGTHS = np.array([30, 7, 19, 2, 25])


def splits(x, lengths, kind="binary"):
    part = Sequences(x, lengths)
    return Splits.of("toy", kind, {"train": part, "valid": part, "test": part})


def tsbn(scale=1.0):
    rows = splits(np.array([[0] * DIM, [1] * DIM], np.uint8), np.array([1, 1]))
    torch.manual_seed(3)
    return TSBN(rows.info, hidden_dim=HIDDEN, init_scale=scale)


@pytest.fixture(scope="module")
def model():
    return tsbn()


@pytest.fixture(scope="module")
def own_data(model):
    """Sequences drawn from the model itself."""
    torch.manual_seed(0)
    x = generate(model, len(LENGTHS), LENGTHS.max(), torch.zeros(1))["x"].numpy()
    rows = [x[row, :length] for row, length in enumerate(LENGTHS)]
    return splits(np.concatenate(rows).astype(np.uint8), LENGTHS)


def test_statistics_by_hand():
    x = np.array([[[1, 0], [1, 1], [9, 9]], [[0, 1], [9, 9], [9, 9]]], np.float32)
    mask = np.array([[True, True, False], [True, False, False]])
    data = splits(np.array([[1, 0], [1, 1], [0, 1]], np.uint8), np.array([2, 1]))
    summary = Summary(data.info, 1, data.test)
    seen = np.array([[[0, 1], [0, 0], [0, 0]], [[1, 1], [0, 0], [0, 0]]], np.float32)
    summary.add(x[None], mask, slice(0, 1), np.array([0, 1]), seen=seen)
    assert summary.values["activity"][0].tolist() == [0.75, 0.5]
    assert summary.values["spread"][0].tolist() == [0.5, 0.0]
    assert summary.values["persistence"][0].tolist() == pytest.approx([0.5, np.nan], nan_ok=True)
    assert summary.values["one-step persistence"][0, 0] == 0.5
    assert summary.feature_means.tolist() == [pytest.approx([2 / 3, 2 / 3])]
    assert summary.counts.tolist() == [[0, 2, 1]]
    assert summary.over_sequences()["persistence"].tolist() == [0.5]


def test_what_the_data_lacks_is_left_out_of_replicates_too():
    x = np.array([[1, np.nan], [0, 1], [1, 1]], np.float32)
    data = splits(x, np.array([3]))
    of_data = observed(data, "test")
    replicates = Summary(data.info, 2, data.test)
    whole = np.nan_to_num(x)[None, None] + np.zeros((2, 1, 1, 1))
    whole[1, 0, 0, 1] = 1  # where nothing was observed
    mask, rows = np.ones((1, 3), bool), np.array([0])
    replicates.add(whole, mask, slice(0, 2), rows, seen=data.test.batch([0]).x.numpy())
    for name, found in replicates.values.items():
        assert found[:, 0] == pytest.approx(np.repeat(of_data.values[name][0], 2)), name
    assert replicates.feature_means == pytest.approx(np.tile(of_data.feature_means[0], (2, 1)))


def test_gaps_are_no_zeros():
    """Statistics of the features that are there, about values far from zero."""
    x = np.array([[100, np.nan], [102, 7], [np.nan, np.nan], [103, 9]], np.float32)
    data = splits(x, np.array([4]), kind="real")
    found = observed(data, "valid")
    a, b = (x - np.nanmean(x, 0)).T / np.nanstd(x, 0)[:, None]
    pair, sums = a[1] - a[0], [2 * a[0], a[1] + b[1], a[3] + b[3]]
    assert found.values["activity"][0, 0] == pytest.approx(0, abs=1e-6)
    assert found.values["persistence"][0, 0] == pytest.approx(1 - pair)  # of one, 100 to 102
    assert found.values["spread"][0, 0] == pytest.approx(np.std(sums))
    assert found.feature_means[0] == pytest.approx([0, 0], abs=1e-6)


def test_constant_features_say_nothing():
    data = splits(np.array([[3, 1], [3, 2]], np.float32), np.array([2]), kind="real")
    replicates = Summary(data.info, 1, data.test)
    noise = np.array([[[[9.0, 0.5], [-9.0, 1.5]]]]) - data.train.centre
    replicates.add(noise, np.ones((1, 2), bool), slice(0, 1), np.array([0]))
    assert replicates.over_sequences()["persistence"] == pytest.approx(1 - 2 / 2)
    assert replicates.feature_means[0] == pytest.approx([0, -1])


def test_data_and_replicates_are_summarised_alike(own_data):
    data = observed(own_data, "test")
    rows = [own_data.test.sequence(row).float().numpy() for row in range(len(LENGTHS))]
    persistence = [(row[1:] == row[:-1]).mean() for row in rows]
    assert data.values["persistence"][0] == pytest.approx(persistence)
    assert data.values["one-step persistence"][0] == pytest.approx(persistence)
    assert data.feature_means[0] == pytest.approx(own_data.info.mean)
    assert data.counts.sum() == LENGTHS.sum()


def test_a_right_model_passes(model, own_data):
    replicates = prior_replicates(model, own_data, "test", draws=DRAWS)
    assert replicates.counts.sum(1).tolist() == [LENGTHS.sum()] * DRAWS
    p = p_values(observed(own_data, "test"), replicates)
    assert set(p) == {"activity", "spread", "persistence", FEATURE_MEANS}
    assert misfits(p, level=0.01) == {}
    assert p[FEATURE_MEANS] <= 0.25


def test_a_model_that_repeats_too_much_is_caught(own_data):
    sticky = tsbn(scale=0.1)
    with torch.no_grad():
        sticky.x_from_x.weight.copy_(8 * torch.eye(DIM))
        for bias in sticky.x_bias.parameters():
            bias.fill_(-4)
    p = p_values(
        observed(own_data, "test"), prior_replicates(sticky, own_data, "test", draws=DRAWS)
    )
    assert misfits(p)["persistence"] == "too high"


def test_posterior_replicates_go_on_from_the_data(model, own_data):
    guide = RecurrentBernoulli(model)
    replicates = posterior_replicates(to_datatree(model, guide, own_data, draws=DRAWS), own_data)
    p = p_values(observed(own_data, "test"), replicates)
    assert set(p) == {"activity", "spread", "one-step persistence", FEATURE_MEANS}
    assert np.isnan(replicates.values["persistence"]).all()


def test_a_silent_model_is_caught_by_both_kinds(own_data):
    silent = tsbn(scale=0.1)
    with torch.no_grad():
        for bias in silent.x_bias.parameters():
            bias.fill_(-6)
    guide = RecurrentBernoulli(silent)
    tree = to_datatree(silent, guide, own_data, draws=DRAWS)
    data = observed(own_data, "test")
    for replicates in (
        posterior_replicates(tree, own_data),
        prior_replicates(silent, own_data, "test", draws=DRAWS),
    ):
        p = p_values(data, replicates)
        assert misfits(p)["activity"] == "too low"
        assert p[FEATURE_MEANS] > 0.7


def test_grey_data_is_compared_as_zeros_and_ones():
    grey = splits(np.full((40, DIM), 0.5, np.float32), np.array([20, 20]), "unit")
    fair = tsbn(scale=0.01)
    with torch.no_grad():
        for bias in fair.x_bias.parameters():
            bias.zero_()
    data = observed(grey, "test", draws=DRAWS)
    p = p_values(data, prior_replicates(fair, grey, "test", draws=DRAWS))
    assert 0.2 < p["spread"] < 0.8
    assert 0.2 < p["persistence"] < 0.8


def test_totals_of_counts_are_not_the_models_to_explain():
    """Replicates have the mean total, the data all sorts of them, from the same shares."""
    rng = np.random.default_rng(0)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    totals = rng.integers(100, 400, 60)
    x = np.stack([rng.multinomial(total, shares) for total in totals]).astype(np.float32)
    words = splits(x, np.array([20, 40]), "count")
    model = HMSBN(words.info, hidden_dim=2, init_scale=1e-3)
    with torch.no_grad():
        for bias in model.x_bias.parameters():
            bias.copy_(torch.tensor(shares).log())
    data = observed(words, "test")
    right = p_values(data, prior_replicates(model, words, "test", draws=DRAWS))
    assert set(right) == {"persistence", FEATURE_MEANS}
    assert right[FEATURE_MEANS] == 0
    with torch.no_grad():
        for bias in model.x_bias.parameters():
            bias.zero_()
    wrong = p_values(data, prior_replicates(model, words, "test", draws=DRAWS))
    assert wrong[FEATURE_MEANS] == 1


def test_single_frames_have_no_persistence(model):
    rows = splits(np.eye(DIM, dtype=np.uint8), np.ones(DIM, np.int64))
    p = p_values(observed(rows, "test"), prior_replicates(model, rows, "test", draws=10))
    assert set(p) == {"activity", "spread", FEATURE_MEANS}
    assert p["spread"] == 0.5


def test_prior_replicates_leave_the_global_generator_alone(model, own_data):
    before = torch.get_rng_state()
    one = prior_replicates(model, own_data, "test", draws=3)
    two = prior_replicates(model, own_data, "test", draws=3)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(one.totals, two.totals)
