"""Hidden Markov models start from clusters of the data."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.models import HMM
from pyrodgm.models.hmm_start import _averaged

MEANS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
MOVES = np.full((3, 3), 0.05) + 0.85 * np.eye(3)


def clusters(means=MEANS, moves=MOVES, num=12, length=25, seed=0):
    """Sequences of a true hidden Markov model with unit noise."""
    rng = np.random.default_rng(seed)
    states = np.empty((num, length), int)
    for path in states:
        path[0] = rng.integers(len(means))
        for t in range(1, length):
            path[t] = rng.choice(len(means), p=moves[path[t - 1]])
    x = means[states] + rng.normal(size=(num, length, means.shape[1]))
    part = Sequences(x.reshape(-1, means.shape[1]), np.full(num, length))
    return Splits.of("clusters", "real", dict.fromkeys(("train", "valid", "test"), part))


def true_nats(splits, means=MEANS, moves=MOVES):
    """The log-likelihood of the training data under the model that made it, by plain recursion."""
    x = splits.train.x.double().view(len(splits.train), -1, means.shape[1])
    centres = torch.from_numpy(means)
    evidence = torch.distributions.Normal(centres, 1.0).log_prob(x[:, :, None]).sum(-1)
    log_moves = torch.from_numpy(moves).log()
    alpha = evidence[:, 0] - np.log(len(means))
    for now in evidence[:, 1:].unbind(1):
        alpha = (alpha[..., None] + log_moves).logsumexp(-2) + now
    return float(alpha.logsumexp(-1).sum())


def nats(model, batch):
    """Per frame."""
    with torch.no_grad():
        return float(model.log_likelihood(batch)) / batch.num_frames


@pytest.mark.parametrize("seed", range(2))
def test_three_clusters_become_three_states(seed):
    """The start alone is near the true likelihood: two states on one cluster cost 0.7 a frame."""
    splits = clusters()
    torch.manual_seed(seed)
    model = HMM(splits.info, num_states=3)
    batch = splits.train.batch(range(len(splits.train)))
    true = true_nats(splits) / batch.num_frames
    assert nats(model, batch) < true - 0.7
    model.begin(splits, seed)
    assert nats(model, batch) > true - 0.05


def test_states_that_persist_are_found_where_frames_overlap():
    """Clusters of single frames are of no use here: the noise of feature 1 is all they see."""
    means = np.array([[0.0, 0.0], [1.5, 0.0]])
    moves = np.array([[0.98, 0.02], [0.02, 0.98]])
    splits = clusters(means, moves, num=20, length=60)
    torch.manual_seed(0)
    model = HMM(splits.info, num_states=2)
    model.begin(splits, 0)
    batch = splits.train.batch(range(len(splits.train)))
    assert nats(model, batch) > true_nats(splits, means, moves) / batch.num_frames - 0.05


def test_the_start_is_decided_by_its_seed_and_leaves_the_generators_alone():
    splits = clusters(num=4)
    torch.manual_seed(0)
    one = HMM(splits.info, num_states=3)
    other, state = deepcopy(one), torch.get_rng_state()
    one.begin(splits, 1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    other.begin(splits, 1)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_what_was_loaded_begun_or_asked_to_be_random_is_kept():
    splits = clusters(num=4)
    loaded, begun = HMM(splits.info, num_states=3), HMM(splits.info, num_states=3)
    loaded.load_state_dict(begun.state_dict())
    begun.begin(splits, 0)
    for model in (loaded, begun, HMM(splits.info, num_states=3, start="random")):
        before = deepcopy(model.state_dict())
        model.begin(splits, 1)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_more_states_than_different_frames():
    """Nothing to cluster: the random numbers are left."""
    part = Sequences(np.eye(2, dtype=np.uint8), np.array([2]))
    splits = Splits.of("eye", "binary", dict.fromkeys(("train", "valid", "test"), part))
    model = HMM(splits.info, num_states=5)
    model.begin(splits, 0)
    assert torch.isfinite(model.log_likelihood(splits.train.batch([0])))


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_averages_are_within_a_sequence(width):
    x = torch.randn(2, 5, 3).double()
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    averaged = _averaged(Batch(x, mask, torch.arange(2)).x, mask, width)
    for row, length in enumerate((5, 3)):
        for t in range(length):
            first, last = max(0, t - (width - 1) // 2), min(length, t + width // 2 + 1)
            torch.testing.assert_close(averaged[row, t], x[row, first:last].mean(0))
