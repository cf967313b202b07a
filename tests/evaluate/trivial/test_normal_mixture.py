"""Mixtures by expectation maximisation: the density, and what is found in known mixtures."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from pyrodgm.data.mixtures import GMM5
from pyrodgm.errors import DataError
from pyrodgm.evaluate.trivial.normal_mixture import NormalMixture, fit_mixture
from pyrodgm.seeds import numpy_generator


def test_the_density_is_that_of_scipy():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, 3, 3))
    made = NormalMixture(np.array([0.3, 0.7]), rng.normal(size=(2, 3)), root @ root.mT + np.eye(3))
    x = rng.normal(size=(4, 3))
    density = sum(
        w * multivariate_normal.pdf(x, c, s)
        for w, c, s in zip(made.weights, made.centres, made.covariances, strict=True)
    )
    assert made.log_likelihood(x) == pytest.approx(np.log(density).mean())
    draws = made.draw(50_000, rng)
    np.testing.assert_allclose(draws.mean(0), made.weights @ made.centres, atol=0.08)


def test_a_known_mixture_is_found():
    x = GMM5.draw(1000, numpy_generator(0, "test")).astype(float)
    made = fit_mixture(x, 5, numpy_generator(0, "em"))
    centres = np.array(GMM5.centres)
    apart = np.linalg.norm(made.centres[:, None] - centres, axis=-1)
    assert sorted(apart.argmin(1)) == [0, 1, 2, 3, 4]
    assert apart.min(1).max() < 0.1
    assert made.covariances == pytest.approx(np.tile(0.04 * np.eye(2), (5, 1, 1)), abs=0.02)
    with pytest.raises(DataError, match="too few"):
        fit_mixture(x[:3], 5, numpy_generator(0, "em"))
