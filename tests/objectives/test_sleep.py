"""Mean gradients of wake and sleep phases against sums over all observations and latents."""

import numpy as np
import pytest
import torch
from dreams import dreamt, every_observation, totals

from continuous import Recurrent, SharedGuide
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import score
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import DiagonalNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import JSA, RWS, WakeSleep
from pyrodgm.objectives.sleep import sleep_terms
from variants import INFOS, VARIANTS, D, frames, latent_paths, mild, pair, randomised

COPIES, NODES = 1600, 40


def awake(model, guide, batch):
    """E of log p(x, z) over all paths of the guide, whose probabilities are fixed."""
    paths = latent_paths(guide, batch.length)
    return (totals(guide, batch, paths).detach().exp() * totals(model, batch, paths)).sum()


def copies_of(x):
    """A batch that repeats one sequence, with a frame of padding."""
    padded = torch.cat([x, torch.full_like(x[:, :1], 0.5)], 1).expand(COPIES, -1, -1)
    mask = (torch.arange(padded.shape[1]) < x.shape[1]).expand(COPIES, -1)
    return Batch(padded, mask, torch.arange(COPIES))


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d", "sbn"])
def test_both_phases_have_the_gradients_of_their_targets(variant):
    torch.manual_seed(0)
    model, guide = mild(variant)
    length = min(2, VARIANTS[variant].length)
    x = frames("bernoulli", 1, length)
    target = awake(model, guide, Batch.of(x)) + dreamt(model, guide, length)
    parameters = [*model.parameters(), *guide.parameters()]
    objective, batch = WakeSleep(model, guide, particles=2), copies_of(x)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, gradient(target, parameters))


def test_the_sleep_phase_of_a_continuous_latent_by_quadrature():
    torch.manual_seed(3)
    model = randomised(VAE(INFOS["bernoulli"], latent_dim=1, hidden_dim=4), 0.5)
    guide = randomised(DiagonalNormal(model, hidden_dim=4), 0.5)
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    batch = Batch.of(every_observation(1))
    z = {"z": nodes.view(-1, 1, 1, 1).expand(-1, batch.size, -1, -1)}
    x_given_z = score(model, batch, z)["x"].exp().sum(-1)
    probability = (mass / mass.sum())[:, None] * x_given_z
    target = (probability.detach() * score(guide, batch, z)["z"].sum(-1)).sum()
    parameters = list(guide.parameters())
    data = Batch.of(frames("bernoulli", 1, 1).expand(COPIES, -1, -1))
    objective = WakeSleep(model, guide)
    samples = sample_gradients(lambda: -objective(data).surrogate, parameters, calls=60)
    assert_mean(samples, gradient(target, parameters), power=0.1)


def test_the_sleep_phase_leaves_what_the_guide_shares_with_its_model():
    torch.manual_seed(4)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    batch = Batch.of(frames("bernoulli", 4, 3))
    log_q = sleep_terms(model, guide, batch, 2)["z"].sum()
    assert not gradient(log_q, list(model.parameters())).any()
    assert gradient(log_q, list(guide.parameters())).all()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("kind", [RWS, JSA])
def test_without_a_sleep_phase_nothing_is_drawn_for_it(kind):
    torch.manual_seed(7)
    model, guide = mild("sbn")
    batch = Batch.of(frames("bernoulli", 3, 1))
    found = []
    for options in ({}, {"sleep": 0.0}):
        objective = kind(model, guide, **options)
        objective.begin(Sequences(np.zeros((3, D), np.uint8), np.ones(3, int)))
        torch.manual_seed(8)
        found.append(objective(batch).surrogate)
        found.append(torch.rand(()))
    assert torch.equal(found[0], found[2])
    assert found[1] == found[3]


def test_programs_without_frames_have_no_sleep_phase():
    model, guide = pair("sbn")
    with pytest.raises(CompatibilityError, match="rws or jsa with sleep=0"):
        sleep_terms(torch.nn.Identity(), guide, Batch.of(frames("bernoulli", 3, 1)), 1)
    with pytest.raises(UsageError, match="less than or equal to 1"):
        RWS(model, guide, sleep=1.5)
