"""Coverage of known modes: exact draws, missing modes, and points that are nowhere."""

import numpy as np
import pytest

from pyrodgm.data.mixtures import GMM5, GMM32
from pyrodgm.evaluate.samples.modes import coverage, exact_coverage, near, shares
from pyrodgm.seeds import numpy_generator

LIMIT = 4.3  # standard errors, at a false-positive rate of 2e-5


@pytest.mark.parametrize("mixture", [GMM5, GMM32])
def test_exact_draws_cover_what_is_expected(mixture):
    x, modes = mixture.draw(20_000, numpy_generator(1, "test")), np.array(mixture.centres)
    found = coverage(x, modes, mixture.deviation)
    covered, realistic = exact_coverage(len(modes), 2)
    assert abs(found.covered.value - covered) < LIMIT * found.covered.error + 1e-6
    assert abs(found.realistic.value - realistic) < LIMIT * found.realistic.error
    assert found.shares == pytest.approx(np.full(len(modes), realistic / len(modes)), abs=0.02)
    assert found.realistic.error < 0.001
    assert found.to_dict()["found"] == len(modes)


def test_lost_modes_and_points_between_modes_are_counted():
    modes = np.array(GMM5.centres)
    x = np.repeat(modes[:2], 500, axis=0)
    x[::2] += 10
    found = coverage(np.random.default_rng(0).permutation(x), modes, 0.2)
    assert found.covered.value == 2
    assert found.realistic.value == 0.5
    assert found.shares.tolist() == [0.25, 0.25, 0, 0, 0]


def test_a_few_draws_are_one_set():
    found = coverage(np.zeros((7, 2)), np.array(GMM5.centres), 0.2)
    assert (found.size, found.covered.value, found.realistic.value) == (7, 1, 1)
    assert np.isnan(found.covered.error)


def test_near_is_within_three_standard_deviations():
    modes = np.zeros((1, 2))
    assert near(np.array([[0.59, 0], [0.61, 0], [0.5, 0.5]]), modes, 0.2)[:, 0].tolist() == [
        1,
        0,
        0,
    ]
    assert shares(np.zeros((3, 2)), modes, 0.2).tolist() == [1]
