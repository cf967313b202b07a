import math

import numpy as np
import pytest
import torch

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.likelihood.bound import Bound, standard_error
from pyrodgm.evaluate.likelihood.weights import latent_nats
from variants import frames, latent_paths, pair, path_log_probs


def sequences(seed=0, count=40):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 200, count)
    return lengths * rng.normal(-8, 1, count), lengths


def test_both_weightings_by_hand():
    found = Bound.of(np.array([-10.0, -60.0]), np.array([10, 20]), "elbo")
    assert (found.nats_per_example, found.nats_per_frame) == (-35, -70 / 30)
    assert found.nats_per_frame_sequence_weighted == -2
    assert (found.examples, found.frames) == (2, 30)


def test_equal_numbers_have_no_error():
    assert np.full(10, 0.1 + 0.2).std(ddof=1) > 0, "rounding"
    assert standard_error(np.full(10, 0.1 + 0.2)) == 0
    assert math.isnan(standard_error(np.ones(1)))


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


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-s"])
def test_what_latents_tell_is_a_sum_over_all_paths(variant):
    model, guide = pair(variant)
    x, other = frames("bernoulli", 3), frames("bernoulli", 2)
    exact = 0.0
    for each in (x, other):
        paths, batch = latent_paths(model, len(each)), Batch.of(each[None])
        with torch.no_grad():
            p, q = (path_log_probs(program, batch, paths) for program in (model, guide))
        log_q = sum(q[name] for name in model.latents).sum(-1)
        log_p = sum(p[name] for name in model.latents).sum(-1)
        exact = exact + (log_q.exp() * (log_q - log_p)).sum() / 5
    split = Sequences(torch.cat([x, other]).float().numpy(), np.array([3, 2]))
    found = [
        latent_nats(model.float(), guide.float(), split, draws=500, seed=seed) for seed in range(40)
    ]
    assert_mean(torch.tensor(found)[:, None], exact)
