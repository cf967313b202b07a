"""The kernel test: its false-positive rate, its power, and its estimate by the formula."""

import numpy as np
import pytest
from scipy.stats import binom

from pyrodgm.errors import UsageError
from pyrodgm.evaluate.samples.kernel_test import kernel_test


def kernel(a, b, h):
    return np.exp(-((a[:, None] - b) ** 2).sum(-1) / (2 * h**2))


def test_the_estimate_is_the_formula():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3)) + 1
    found = kernel_test(x, y, permutations=5)
    both = np.concatenate([x, y])
    apart = np.linalg.norm(both[:, None] - both, axis=-1)[np.triu_indices(14, 1)]
    h = np.sort(apart)[(len(apart) - 1) // 2]
    assert found.bandwidth == pytest.approx(h)
    off = ~np.eye(7, dtype=bool)
    expected = kernel(x, x, h)[off].mean() + kernel(y, y, h)[off].mean()
    expected -= 2 * kernel(x, y, h).mean()
    assert found.discrepancy.value == pytest.approx(expected)


def test_draws_of_one_distribution_are_rejected_as_often_as_the_level_says():
    rng = np.random.default_rng(1)
    tests = [
        kernel_test(*rng.standard_normal((2, 20, 2)), permutations=99, seed=seed)
        for seed in range(400)
    ]
    p = np.array([each.p_value for each in tests])
    for level in (0.05, 0.5):
        low, high = binom.ppf([1e-5, 1 - 1e-5], len(p), level)
        assert low <= (p <= level).sum() <= high
    values = np.array([each.discrepancy.value for each in tests])
    assert abs(values.mean()) < 4.3 * values.std() / np.sqrt(len(values))


def test_other_distributions_are_found():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 2))
    for y in (x[::-1] + 0.5, 2 * rng.standard_normal((200, 2)), np.zeros((200, 2))):
        found = kernel_test(x, y)
        assert found.p_value == 1 / 501
        assert found.discrepancy.value > 3 * found.discrepancy.error


def test_the_standard_error_is_that_of_repeated_estimates():
    rng = np.random.default_rng(3)
    found = [
        kernel_test(rng.standard_normal((60, 1)), rng.standard_normal((60, 1)) + 1, permutations=1)
        for _ in range(300)
    ]
    spread = np.std([each.discrepancy.value for each in found])
    assert np.mean([each.discrepancy.error for each in found]) == pytest.approx(spread, rel=0.25)


def test_equal_rows_and_wrong_sizes():
    assert kernel_test(np.ones((5, 2)), np.ones((5, 2))).p_value == 1
    rows = np.repeat(np.eye(4), [5, 7, 9, 11], axis=0)  # the same ones, in another order
    assert kernel_test(rows, rows[::-1]).discrepancy.error == 0
    for shapes in (((3, 2), (4, 2)), ((1, 2), (1, 2)), ((3, 2), (3, 1))):
        with pytest.raises(UsageError, match="two sets of rows of one size"):
            kernel_test(*map(np.zeros, shapes))
