import numpy as np
import pytest

from pyrodgm.data import moments as module
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.moments import moments

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("at_once", [1, 35, 10**6])
def test_moments_are_those_of_numpy_however_they_are_cut(monkeypatch, dtype, at_once):
    monkeypatch.setattr(module, "NUMBERS_AT_ONCE", at_once)
    x = RNG.integers(0, 50, (23, 5)).astype(dtype)
    mean, std = moments(x)
    np.testing.assert_allclose(mean, x.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, x.std(0, dtype=np.float64), rtol=1e-12)


def test_what_is_missing_does_not_count():
    x = RNG.normal(size=(40, 3))
    x[RNG.random(x.shape) < 0.5] = np.nan
    x[:, 2] = np.nan
    mean, std = moments(x)
    np.testing.assert_allclose(mean[:2], np.nanmean(x[:, :2], 0), rtol=1e-12)
    np.testing.assert_allclose(std[:2], np.nanstd(x[:, :2], 0), rtol=1e-12)
    assert np.isnan([mean[2], std[2]]).all()


def test_a_large_offset_leaves_the_spread_exact():
    x = 1e6 + np.array([[0.0], [1.0]], np.float64)
    assert moments(x)[1] == 0.5


def test_a_feature_that_only_rounding_moves_is_constant():
    x = RNG.normal(size=(50, 4)).astype(np.float32)
    x[:, 0] = 1e-17 * x[:, 0]  # small units too: nothing says how large a feature should be
    x[:, 1] = np.nextafter(np.float32(0.1), np.sign(x[:, 1]))
    x[:, 2] = 1e-6 * x[:, 2]  # small units
    parts = dict.fromkeys(("train", "valid", "test"), Sequences(x, np.array([20, 30])))
    info = Splits.of("noise", "real", parts).info
    assert (np.array(info.std) > 0).tolist() == [True, False, True, True]
    assert (np.array(info.step_std) > 0).tolist() == [True, False, True, True]
