"""Continuations against sums over all latent paths and all frames to come."""

import itertools

import numpy as np
import pytest
import torch

from oracles import Enumerated, assert_mean
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.prediction.continuation import continued
from pyrodgm.evaluate.prediction.forecast import Forecast, forecast
from pyrodgm.guides import NoGuide, RecurrentBernoulli
from pyrodgm.models import AR, HMM, LDS, RNN, TSBN
from variants import mild, randomised

D = 3


pytestmark = pytest.mark.usefixtures("double_precision")


def copies(x, count):
    return Sequences(np.tile(x, (count, 1)).astype(np.float32), np.full(count, len(x)))


def futures(frames):
    """Every way the next binary frames can be, (2^(D H), H, D)."""
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=frames * D)))
    return bits.view(-1, frames, D)


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d"])
def test_means_and_quantiles_are_those_of_all_that_may_come(variant):
    model, guide = mild(variant)
    x = torch.rand(1, D).round()
    ahead = futures(2)
    nats = [Enumerated(model, guide, torch.cat([x, each])).evidence() for each in ahead]
    exact = torch.einsum("s,shd->hd", torch.stack(nats).softmax(0), ahead)
    whole = np.concatenate([x.numpy(), np.zeros((2, D))])
    found = forecast(model, guide, copies(whole, 40), horizon=2, samples=500, quantiles=(0.3, 0.6))
    assert_mean(torch.from_numpy(found.mean).double(), exact)
    assert_mean(torch.from_numpy(found.draw).double()[:, :1].mean(1, keepdim=True), exact[:1],
                power=1.0)  # fmt: skip
    # A bit's quantile is one where its chance exceeds what is above the level.
    clear = (exact - 0.7).abs().numpy() > 0.1
    expected = (exact > 0.7).double().numpy()
    assert (found.quantiles[0] == expected)[:, clear].all()
    assert found.errors == pytest.approx((found.mean**2).sum(-1), rel=1e-5)
    assert found.copy_last == pytest.approx(np.full((40, 2), float(x.sum())), rel=1e-5)


def ragged(lengths):
    rng = np.random.default_rng(0)
    x = (rng.random((sum(lengths), D)) < 0.5).astype(np.uint8)
    return Sequences(x, np.array(lengths))


def test_sequences_are_forecast_from_where_they_are_left():
    model, guide = mild("dtsbn-s")
    split = ragged([5, 2, 3, 7])
    last = forecast(model, guide, split, horizon=2, samples=3)
    assert last.rows.tolist() == [0, 2, 3]
    assert last.starts.tolist() == [3, 1, 5]
    assert not np.isnan(last.errors).any()
    fixed = forecast(model, guide, split, horizon=3, start=3, samples=3)
    assert fixed.rows.tolist() == [0, 3]
    assert np.isnan(fixed.errors).tolist() == [[False, False, True], [False] * 3]
    rows = fixed.by_horizon()
    assert [row["sequences"] for row in rows] == [2, 2, 1]
    assert rows[2]["standard_error"] is None
    assert rows[0]["squared_error"] == pytest.approx(fixed.errors[:, 0].mean())


def test_errors_by_horizon_by_hand():
    errors = np.array([[1.0, 4.0], [3.0, np.nan]])
    copied = np.array([[2.0, 9.0], [6.0, np.nan]])
    blank = np.zeros((2, 2, 1))
    found = Forecast(
        *[np.arange(2)] * 2, blank, np.array([0.5]), blank[None], blank, errors, copied
    )
    first, second = found.by_horizon()
    assert first == {
        "ahead": 1,
        "sequences": 2,
        "squared_error": 2.0,
        "standard_error": pytest.approx(1.0),
        "copy_last": 4.0,
    }
    assert (second["sequences"], second["squared_error"], second["copy_last"]) == (1, 4.0, 9.0)


def test_what_nobody_knows_yet_is_forecast_without_errors():
    """From the end of a sequence as from the same place within a longer one."""
    model, guide = mild("tsbn order 2")
    longer = ragged([6, 6])
    short = Sequences(longer.x.view(2, 6, D)[:, :4].reshape(8, D).numpy(), np.array([4, 4]))
    ahead = forecast(model, guide, short, horizon=2, start="end", samples=4)
    within = forecast(model, guide, longer, horizon=2, start=4, samples=4)
    assert ahead.starts.tolist() == [4, 4]
    assert np.array_equal(ahead.quantiles, within.quantiles)
    assert np.isnan(ahead.errors).all()
    assert [row["sequences"] for row in ahead.by_horizon()] == [0, 0]


def test_frames_to_come_are_not_seen():
    model, guide = mild("tsbn")
    split, other = ragged([5]), ragged([5])
    other.x[3:] = 1 - other.x[3:]
    one, two = (forecast(model, guide, s, horizon=2, samples=4) for s in (split, other))
    assert np.array_equal(one.quantiles, two.quantiles)
    assert not np.array_equal(one.errors, two.errors)


@pytest.mark.parametrize("kind", ["ar", "rnn", "hmm", "lds"])
def test_without_latents_the_next_frame_is_its_mean(kind):
    """Sequences of unequal length go on in step with themselves, so company changes nothing."""
    real = kind == "lds"
    info = DataInfo("x", "real" if real else "binary", D, (0.5,) * D, 4.0, 6, std=(1.0,) * D)
    model = {
        "ar": lambda: AR(info, history=2),
        "rnn": lambda: RNN(info, hidden_dim=4, cell="lstm"),
        "hmm": lambda: HMM(info, num_states=3),
        "lds": lambda: LDS(info, state_dim=3),
    }[kind]()
    if not real:
        randomised(model, 0.5)
    model.double().eval()
    split = ragged([6, 3, 4])
    together = forecast(model, NoGuide(model), split, horizon=1, samples=2)
    for row in range(3):
        alone = forecast(model, NoGuide(model), split.select([row]), horizon=1, samples=2)
        np.testing.assert_allclose(together.mean[row], alone.mean[0], rtol=1e-5, atol=1e-6)


def test_means_are_fed_back_where_values_are_grey():
    model, guide = mild("tsbn")
    found = forecast(model, guide, ragged([4]), horizon=3, samples=5, means=True)
    assert ((found.draw > 0) & (found.draw < 1)).all()


def test_errors_are_those_of_what_was_observed():
    model, guide = mild("tsbn")
    x = np.array([[1, 0, 1], [0, np.nan, 1], [np.nan] * 3, [1, np.nan, 0]], np.float32)
    split = Sequences(x, np.array([4]), fill=np.full(D, 0.5))
    found = forecast(model, guide, split, horizon=2, samples=3)
    assert np.isnan(found.errors[0, 0])
    assert np.isnan(found.copy_last[0, 0])
    assert found.copy_last[0, 1] == 2  # of 0, 0, 1, the last values seen, at 1, ?, 0
    error = (1 - found.mean[0, 1, 0]) ** 2 + found.mean[0, 1, 2] ** 2
    assert found.errors[0, 1] == pytest.approx(error)


def test_more_particles_than_move_at_once():
    model, guide = mild("tsbn")
    assert forecast(model, guide, ragged([4, 3]), horizon=1, samples=5001).mean.shape == (2, 1, D)


def test_what_cannot_be_forecast_is_refused():
    model, guide = mild("tsbn")
    split = ragged([4, 3])
    with pytest.raises(UsageError, match="horizon is 0; give at least 1"):
        forecast(model, guide, split, horizon=0)
    with pytest.raises(UsageError, match=r"quantiles are 0.5, 2; give levels"):
        forecast(model, guide, split, horizon=1, quantiles=(0.5, 2))
    with pytest.raises(UsageError, match="give another start"):
        forecast(model, guide, split, horizon=1, start=4)
    with pytest.raises(UsageError, match="give another start"):
        forecast(model, guide, split, horizon=4)


def test_sequences_go_on_from_a_prefix_as_the_model_says():
    model, guide = mild("tsbn order 2")
    x = torch.rand(2, D).round()
    ahead = futures(1)
    nats = [Enumerated(model, guide, torch.cat([x, each])).evidence() for each in ahead]
    exact = torch.einsum("s,shd->hd", torch.stack(nats).softmax(0), ahead)
    split = copies(x.numpy(), 1)
    drawn = continued(model, guide, split, num=8000, prefix=2, length=3, particles=20)
    assert torch.equal(drawn[:, :2], x.expand(8000, -1, -1))
    assert set(drawn[:, 2].unique().tolist()) <= {0.0, 1.0}
    assert_mean(drawn[:, 2], exact[0])


def test_prefixes_take_turns_and_are_as_long_as_asked():
    model, guide = mild("tsbn")
    split = ragged([2, 5, 4])
    x = continued(model, guide, split, num=5, prefix=3, length=6)
    assert x.shape == (5, 6, D)
    firsts = [split.sequence(row)[:3].double() for row in (1, 2, 1, 2, 1)]
    assert torch.equal(x[:, :3], torch.stack(firsts))
    for options in ({"prefix": 6}, {"prefix": 3, "length": 3}):
        with pytest.raises(UsageError, match="a prefix below the length and up to 5 frames"):
            continued(model, guide, split, **{"num": 1, "prefix": 3, "length": 9, **options})


def test_draws_have_the_type_of_the_model():
    info = DataInfo("x", "binary", D, (0.5,) * D, 4.0, 6)
    torch.set_default_dtype(torch.float32)
    model = TSBN(info, hidden_dim=2)
    guide = RecurrentBernoulli(model)
    drawn = continued(model, guide, ragged([4]), num=1, prefix=3, length=6)
    assert drawn.dtype == torch.float32
    torch.set_default_dtype(torch.float64)


def test_missing_values_of_a_prefix_stay_missing():
    model, guide = mild("tsbn")
    x = ragged([4]).sequence(0).double().numpy()
    x[1, 2] = np.nan
    drawn = continued(model, guide, Sequences(x, np.array([4])), num=2, prefix=3, length=5)
    assert drawn.isnan().nonzero().tolist() == [[0, 1, 2], [1, 1, 2]]
    np.testing.assert_array_equal(drawn[0, :3], x[:3])
