"""Invariance of results to units of real features, padding, order, and batch sizes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch

from pyrodgm import Run, fit
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate import passes
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.evaluate.prediction.forecast import forecast
from pyrodgm.evaluate.prediction.one_step import predict
from pyrodgm.evaluate.trivial.likelihoods import trivial_bounds
from pyrodgm.guides import NoGuide, RecurrentBernoulli
from pyrodgm.models import AR, HMM, LDS, TSBN
from pyrodgm.objectives import ML, LocalRLOO
from pyrodgm.runs.check import check
from pyrodgm.seeds import seeded

LENGTHS = np.array([9, 7, 8, 9, 6])
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # a shift by 1e7 spreads takes 1e-9 of each, steps some more
REL = {"rel": 1e-6, "abs": 1e-5}


@dataclass(frozen=True)
class Units:
    """A shift and a scale of each of three features, of which the last is constant."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def of(self, x):
        return np.array(self.shift) + np.array(self.scale) * x

    def undone(self, x):
        return (x - np.array(self.shift)) / np.array(self.scale)


UNITS = {
    "positions": Units((5_411_000.0, -5e6, 7e8), (0.4, 3.0, 1.0)),
    "small": Units((0.0, 1e-6, 3e-9), (1e-9, 1e-9, 1e-9)),
    "large": Units((-1e14, 0.0, 1e15), (1e9, 1e9, 1e9)),
    "mixed": Units((1e-4, 1e15, 1.0), (1e-9, 1e9, 1e9)),
}
MODELS = {
    "tsbn": lambda info: LocalRLOO(
        model := TSBN(info, hidden_dim=3, history=2), RecurrentBernoulli(model)
    ),
    "lds": lambda info: ML(model := LDS(info, state_dim=2), NoGuide(model)),
    "hmm": lambda info: ML(model := HMM(info, num_states=2), NoGuide(model)),
}


@pytest.fixture
def double(seeded_and_guarded):
    """Double precision, so that what rounding leaves is far below what is compared."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def arrays():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(3, LENGTHS.sum(), 3)), 1)
    walk[..., 1] += rng.normal(size=walk.shape[:2])
    walk[..., 2] = 1.0
    walk[2, [3, 4, 4, 12, 20]] = np.nan
    walk[2, 13, [0, 2]] = np.nan
    return walk


def splits_in(units):
    parts = dict(zip(("train", "valid", "test"), units.of(arrays()), strict=True))
    parts = {split: Sequences(x, LENGTHS) for split, x in parts.items()}
    return Splits.of("walk", "real", parts)


def fitted(name, units):
    splits = splits_in(units)
    with seeded(0):
        objective = MODELS[name](splits.info)
    return fit(objective, splits, steps=6, batch_size=2, evaluate_every=3, lr=0.02)


def log_scale(splits, units, split):
    """By how much a density in other units is lower, in nats per sequence."""
    seen = ~np.isnan(splits[split].x.numpy()[:, :2])
    return (seen * np.log(units.scale[:2])).sum() / len(LENGTHS)


@dataclass(frozen=True)
class Results:
    """What a run says, computed once."""

    run: Run

    @cached_property
    def bounds(self):
        return {split: self.run.evaluate(split).nats_per_example for split in ("valid", "test")}

    @cached_property
    def predictions(self):
        return self.run.predict(samples=3)

    @cached_property
    def forecast(self):
        return self.run.forecast(3, samples=20)

    @cached_property
    def filled(self):
        return self.run.impute(samples=20)

    @cached_property
    def drawn(self):
        return self.run.sample(2, 5)["x"].numpy()


@pytest.mark.parametrize("name", MODELS)
def test_units_change_nothing(double, name):
    own = Results(fitted(name, Units()))
    for case, units in UNITS.items():
        found = Results(run := fitted(name, units))
        assert (np.array(run.splits.info.std) > 0).tolist() == [True, True, False], case
        weights = run.objective.state_dict()
        for key, value in own.run.objective.state_dict().items():
            if key.rpartition(".")[2] not in ("scale", "centre"):
                torch.testing.assert_close(weights[key], value, **CLOSE, msg=f"{case}: {key}")
        for split, nats in own.bounds.items():
            less = log_scale(run.splits, units, split)
            assert found.bounds[split] + less == pytest.approx(nats, **REL)
        same_predictions(found.predictions, own.predictions, units)
        same_forecast(found.forecast, own.forecast, units)
        x = units.undone(found.filled.x)
        np.testing.assert_allclose(x, own.filled.x, **CLOSE, err_msg=case)
        quantiles = units.undone(found.filled.quantiles)[..., :2]
        expected = own.filled.quantiles[..., :2]
        np.testing.assert_allclose(quantiles, expected, **CLOSE, err_msg=case)
        drawn = units.undone(found.drawn)[..., :2]
        np.testing.assert_allclose(drawn, own.drawn[..., :2], **CLOSE)


def same_predictions(found, own, units):
    assert found.keys() == own.keys()
    for method, prediction in own.items():
        standardised = found[method].standardised
        np.testing.assert_allclose(standardised, prediction.standardised, **CLOSE, err_msg=method)
        if len(set(units.scale)) == 1:
            errors = found[method].errors / units.scale[0] ** 2
            np.testing.assert_allclose(errors, prediction.errors, **CLOSE, err_msg=method)


def same_forecast(found, own, units):
    for part in ("mean", "draw", "quantiles"):
        values = units.undone(getattr(found, part))[..., :2]
        np.testing.assert_allclose(values, getattr(own, part)[..., :2], **CLOSE, err_msg=part)


@pytest.mark.parametrize("case", UNITS)
def test_trivial_predictors_know_no_units(case):
    splits = splits_in(UNITS[case])
    own = trivial_bounds(splits_in(Units()), "test")
    for name, floor in trivial_bounds(splits, "test").items():
        nats = floor.nats_per_example + log_scale(splits, UNITS[case], "test")
        assert nats == pytest.approx(own[name].nats_per_example, **REL)


@pytest.mark.usefixtures("without_drawing")
def test_checks_know_no_units(double):
    own, found = (
        check(fitted("tsbn", units), draws=25, posterior_draws=10)
        for units in (Units(), UNITS["mixed"])
    )
    assert found.p_values == own.p_values
    np.testing.assert_allclose(found.k, own.k, **CLOSE)
    np.testing.assert_allclose(found.gap, own.gap, **CLOSE)


def test_positions_in_single_precision_are_forecast_as_near_zero():
    """What single precision alone would round to steps of half a metre."""
    far = UNITS["positions"]
    same_forecast_in_single = {"rtol": 0, "atol": 0.01}
    found, own = (fitted("lds", units).forecast(3, samples=20) for units in (far, Units()))
    assert found.mean.dtype == np.float64
    for part in ("mean", "draw", "quantiles"):
        values = far.undone(getattr(found, part))[..., :2]
        np.testing.assert_allclose(values, getattr(own, part)[..., :2], **same_forecast_in_single)


def certain(info):
    """A latent variable model whose latents are all one, so that draws do not depend on a seed."""
    model = TSBN(info, hidden_dim=2)
    guide = RecurrentBernoulli(model)
    for part in (model, guide):
        for layer in part.layers:
            torch.nn.init.constant_(layer.bias.bias, 60.0)
    return model, guide


PAIRS = {
    "tsbn": certain,
    "lds": lambda info: (model := LDS(info, state_dim=2), NoGuide(model)),
    "hmm": lambda info: (model := HMM(info, num_states=2), NoGuide(model)),
    "ar": lambda info: (model := AR(info, history=2), NoGuide(model)),
}


def measured(pair, sequences, std):
    """Numbers of every sequence, (N, any): its bound, errors one frame ahead, and a forecast."""
    model, guide = pair
    nats, _ = sequence_bounds(model, guide, sequences)
    given = {"kind": "real", "std": std, "samples": 2}
    errors = predict(model, guide, sequences, **given)
    ahead = forecast(model, guide, sequences, horizon=1, samples=2)
    assert ahead.rows.tolist() == list(range(len(sequences)))
    columns = (nats, errors.errors, errors.standardised, errors.nats)
    return np.column_stack([*columns, ahead.mean[:, 0], ahead.errors])


@pytest.mark.parametrize("name", PAIRS)
def test_padding_order_and_batch_sizes_change_nothing(double_precision, monkeypatch, name):
    splits = splits_in(Units())
    pair, std, test = PAIRS[name](splits.info), splits.info.std, splits.test
    own = measured(pair, test, std)
    assert np.isfinite(own).all()
    order = [3, 0, 4, 2, 1]
    np.testing.assert_allclose(measured(pair, test.select(order), std), own[order], rtol=1e-9)
    x = np.concatenate([test.x.numpy(), splits.train.x.numpy()])
    beside_a_long_one = Sequences(
        x, np.append(LENGTHS, LENGTHS.sum()), fill=test.fill, centre=test.centre
    )
    np.testing.assert_allclose(measured(pair, beside_a_long_one, std)[:-1], own, rtol=1e-9)
    monkeypatch.setattr(passes, "FRAMES_AT_ONCE", 1)
    monkeypatch.setattr(passes, "PARTICLE_ROWS_AT_ONCE", 2)
    np.testing.assert_allclose(measured(pair, test, std), own, rtol=1e-9)
