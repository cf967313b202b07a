import math

import numpy as np
import pytest

from pyrodgm.evaluate.bounds import Bound


def sequences(seed=0, count=40):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 200, count)
    return lengths * rng.normal(-8, 1, count), lengths


def test_both_weightings_by_hand():
    found = Bound.of(np.array([-10.0, -60.0]), np.array([10, 20]), "elbo")
    assert (found.nats_per_example, found.nats_per_frame) == (-35, -70 / 30)
    assert found.nats_per_frame_sequence_weighted == -2
    assert (found.examples, found.frames) == (2, 30)


def test_the_error_of_a_ratio_is_that_of_the_jackknife():
    """Leaving out one sequence at a time says how much the ratio varies."""
    nats, lengths = sequences()
    count = len(nats)
    without = (nats.sum() - nats) / (lengths.sum() - lengths)
    jackknife = math.sqrt((count - 1) ** 2 / count) * without.std(ddof=1)
    found = Bound.of(nats, lengths, "elbo")
    assert found.standard_error_nats_per_frame == pytest.approx(jackknife, rel=0.05)


def test_the_error_by_sequence_is_that_of_a_mean():
    nats, lengths = sequences()
    found = Bound.of(nats, lengths, "elbo")
    expected = (nats / lengths).std(ddof=1) / math.sqrt(len(nats))
    assert found.standard_error_nats_per_frame_sequence_weighted == pytest.approx(expected)


def test_lengths_alone_are_no_error_per_frame():
    _, lengths = sequences()
    found = Bound.of(-3.0 * lengths, lengths, "elbo")
    assert found.standard_error_nats_per_frame == pytest.approx(0, abs=1e-12)
    assert found.standard_error_nats_per_example > 10


def test_with_equal_lengths_both_errors_are_the_same():
    nats, _ = sequences()
    found = Bound.of(nats, np.full(len(nats), 50), "elbo")
    per_frame = found.standard_error_nats_per_example / 50
    assert found.standard_error_nats_per_frame == pytest.approx(per_frame)


def test_one_sequence_has_no_error():
    values = Bound.of(np.array([-5.0]), np.array([5]), "elbo").to_dict()
    assert values["standard_error_nats_per_frame"] is None
    assert values["standard_error_nats_per_example"] is None
