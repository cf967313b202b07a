"""Particle filters with gradients: unbiased for the likelihood, and their mean gradients."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from continuous import Recurrent, SharedGuide
from oracles import Enumerated, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.programs import join
from pyrodgm.engine.smc import ParticleFilter, frame_evidence
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.bounds import bound
from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.objectives import FIVO, SIXO
from variants import (
    VARIANTS,
    D,
    frames,
    latent_paths,
    mild,
    output_log_probs,
    pair,
    path_log_probs,
    randomised,
)

COPIES, ALWAYS, NEVER = 1500, 1.1, 0.0
FALSE_POSITIVE_ERRORS = 4.7  # standard errors of the mean of 60, at a rate of 2e-5


def copies(x, number=COPIES, padding=1):
    """One sequence many times, with a padded frame of junk."""
    length = x.shape[0] + padding
    padded = torch.cat([x, torch.full_like(x[:padding], 0.5)])
    mask = (torch.arange(length) < len(x)).expand(number, -1)
    return Batch(padded.expand(number, -1, -1), mask, torch.arange(number))


@pytest.mark.parametrize("variant", ["tsbn order 2", "deep hmsbn", "dtsbn-d order 2"])
@pytest.mark.parametrize("threshold", [NEVER, 0.7, ALWAYS])
def test_scores_of_all_frames_at_once_are_those_of_the_filter(variant, threshold):
    torch.manual_seed(0)
    model, guide = pair(variant)
    batch = copies(frames("bernoulli", 4), 6)
    torch.manual_seed(1)
    expected = frame_evidence(model, guide, batch, 5, threshold=threshold)
    torch.manual_seed(1)
    found = run_filter(model, guide, batch, 5, threshold=threshold)
    torch.testing.assert_close(found.increments(), expected)
    torch.testing.assert_close(found.increments(stop_gradient=True), expected)
    assert not any(value.requires_grad for value in found.values.values())


def test_frames_that_were_not_seen_weigh_nothing():
    torch.manual_seed(2)
    model, guide = pair("tsbn")
    batch = copies(frames("bernoulli", 3), 6)
    batch.seen = batch.mask[..., None].expand_as(batch.x).clone()
    batch.seen[:, 1] = False
    torch.manual_seed(3)
    expected = frame_evidence(model, guide, batch, 5)
    torch.manual_seed(3)
    found = run_filter(model, guide, batch, 5)
    torch.testing.assert_close(found.increments(), expected)
    assert (found.increments()[:, 1].abs() < 1e-15).all()


@pytest.mark.parametrize("variant", ["tsbn", "dtsbn-d"])
@pytest.mark.parametrize("threshold", [0.8, ALWAYS])
def test_the_likelihood_is_estimated_without_bias(variant, threshold):
    torch.manual_seed(4)
    model, guide = mild(variant)
    x = frames("bernoulli", VARIANTS[variant].length)
    with torch.no_grad():
        exact = output_log_probs(model, x[None]).exp()
        found = run_filter(model, guide, copies(x, 60_000), 2, threshold=threshold)
        assert_mean(found.increments().sum(-1).exp()[:, None], exact)


@pytest.mark.parametrize("variant", ["tsbn", "sbn"])
def test_without_resampling_the_gradient_is_that_of_the_bound_of_several_draws(variant):
    torch.manual_seed(5)
    model, guide = pair(variant)
    x = frames("bernoulli", min(2, VARIANTS[variant].length))
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(Enumerated(model, guide, x).iwae(2), parameters)
    objective = FIVO(model, guide, particles=2, threshold=NEVER, signal="future")
    batch = copies(x)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, exact)


@pytest.mark.parametrize("variant", ["tsbn", "dtsbn-d"])
def test_stop_gradient_resampling_has_no_bias_on_the_scale_of_the_likelihood(variant):
    torch.manual_seed(6)
    model, guide = mild(variant)
    x = frames("bernoulli", 2)
    parameters = list(model.parameters())
    exact = gradient(output_log_probs(model, x[None]).exp().sum(), parameters)
    batch = copies(x, 2 * COPIES, padding=0)

    def likelihood(stop_gradient):
        found = run_filter(model, guide, batch, 3, threshold=ALWAYS)
        return found.increments(stop_gradient=stop_gradient).sum(-1).exp().mean()

    samples = sample_gradients(lambda: likelihood(True), parameters, calls=24)
    assert_mean(samples, exact)
    dropped = sample_gradients(lambda: likelihood(False), parameters, calls=60)
    off = (dropped.mean(0) - exact).abs() / (dropped.std(0) / 60**0.5 + 1e-12)
    assert off.max() > FALSE_POSITIVE_ERRORS  # the bias of the published form is seen


def test_draws_with_gradients_are_differentiated_through():
    """Without resampling, as the bound of several draws by `terms`."""
    torch.manual_seed(7)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    parameters = [*model.parameters(), *guide.parameters()]
    batch = copies(frames("bernoulli", 3), 400)
    objective = FIVO(model, guide, particles=3, threshold=NEVER)
    several = [
        lambda: -objective(batch).surrogate,
        lambda: (terms(model, guide, batch, 3).log_w.sum(-1).logsumexp(0)).mean(),
    ]
    one, other = (sample_gradients(each, parameters, calls=24) for each in several)
    error = (one.var(0) / 24 + other.var(0) / 24).sqrt() + 1e-9
    off = (one.mean(0) - other.mean(0)).abs() / error
    assert off.max() < 6.2  # 2e-5 over a hundred coordinates, with the heavier tails of 24 calls
    assert (one.mean(0).abs() > 8 * error).any()


def unseen(batch):
    """The first frame of every sequence is missing."""
    batch.seen = batch.mask[..., None].expand_as(batch.x).clone()
    batch.seen[:, 0] = False
    return batch


def test_draws_of_the_model_in_a_missing_frame_have_its_score():
    """By hand: without resampling the bound is of pairs of paths, whose z_1 are drawn from p."""
    torch.manual_seed(11)
    model, guide = pair("tsbn")
    x = frames("bernoulli", 2)
    one, paths = unseen(Batch.of(x[None])), latent_paths(guide, 2)
    p, q = (path_log_probs(program, one, paths) for program in (model, guide))
    drawn = (p["z"][..., 0] + q["z"][..., 1]).flatten()
    log_w = (p["z"] + p["x"] - q["z"])[..., 1].flatten()
    pairs = (drawn[:, None] + drawn).exp()
    bound = (pairs * torch.logaddexp(log_w[:, None], log_w)).sum()
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(bound, parameters)
    objective = FIVO(model, guide, particles=2, threshold=NEVER, signal="future")
    batch = unseen(copies(x))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, exact)


class PriorFirst(SharedGuide):
    """A guide that is the model's prior in the first frame."""

    def step(self, draw, past, encoded, t):
        now, before = encoded.split(D, -1)
        h = past.carry("h", lambda: join(before, past["z"]), self.model.cell)
        first = (t == 0)[..., None]
        mean = torch.where(first, self.model.prior(h), self.mean(join(h, now)))
        draw("z", dist.Normal(mean, torch.where(first, 1.0, 0.5)).to_event(1))


def test_draws_with_gradients_of_the_model_in_a_missing_frame_are_differentiated_through():
    """As the bound of several draws of a guide that is the prior in that frame."""
    torch.manual_seed(12)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    parameters = [*model.parameters(), *guide.parameters()]
    first = PriorFirst(model)
    first.mean = guide.mean
    batch = unseen(copies(frames("bernoulli", 3), 400))
    objective = FIVO(model, guide, particles=3, threshold=NEVER)
    several = [
        lambda: -objective(batch).surrogate,
        lambda: (terms(model, first, batch, 3).log_w.sum(-1).logsumexp(0)).mean(),
    ]
    one, other = (sample_gradients(each, parameters, calls=24) for each in several)
    error = (one.var(0) / 24 + other.var(0) / 24).sqrt() + 1e-9
    off = (one.mean(0) - other.mean(0)).abs() / error
    assert off.max() < 6.2  # as above
    assert (one.mean(0).abs() > 8 * error).any()


def test_a_shared_recurrence_runs_once_with_the_same_result():
    torch.manual_seed(9)
    model = randomised(Recurrent(), 0.5)
    guide = randomised(SharedGuide(model), 0.5)
    batch = copies(frames("bernoulli", 4), 3)
    increments = []
    for share in (True, False):
        torch.manual_seed(10)
        found = ParticleFilter(model, guide, batch, 4, threshold=ALWAYS)
        found.shared = found.shared if share else ()
        calls = model.cell.calls
        increments.append(torch.stack(found.run().increments, -1))
        assert model.cell.calls - calls == batch.length * (1 if share else 2)
    torch.testing.assert_close(*increments)
    calls = model.cell.calls
    found = run_filter(model, guide, batch, 4)
    assert model.cell.calls - calls == batch.length
    assert found.log_ratios.requires_grad


class Dropping(StepGuide):
    """A guide whose means are zero or 2000, at random, with a standard deviation of 0.01."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 0
        self.mean = torch.nn.Parameter(torch.full((2,), 1000.0))

    def encode(self, batch):
        return F.dropout(torch.ones(*batch.mask.shape, 2), 0.5)

    def step(self, draw, past, encoded, t):
        mean = F.dropout(encoded * self.mean, 0.5)
        draw("z", dist.Normal(mean, 0.01).to_event(1))


def test_draws_are_scored_with_the_units_that_were_dropped_when_they_were_drawn():
    torch.manual_seed(11)
    model = randomised(Recurrent())
    found = run_filter(model, Dropping(model), copies(frames("bernoulli", 5), 8, padding=0), 4)
    assert found.log_q["z"].requires_grad
    assert (found.log_q["z"] > -30).all()


class DroppingBits(StepGuide):
    """A guide whose bits are certain, and zero or one by features that are dropped at random."""

    traits = GuideTraits(latents="binary", sequential=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 0
        self.scale = torch.nn.Parameter(torch.full((), 60.0))

    def encode(self, batch):
        return F.dropout(batch.x.new_ones(*batch.mask.shape, self.latents["z"].dim), 0.5) - 1

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded * self.scale))


def test_bits_are_scored_with_the_features_that_they_were_drawn_by():
    torch.manual_seed(12)
    model, _ = pair("tsbn")
    batch = copies(frames("bernoulli", 5), 8, padding=0)
    found = run_filter(model, DroppingBits(model), batch, 4)
    assert found.log_q["z"].requires_grad
    assert (found.log_q["z"] > -1).all()


def test_more_particles_raise_the_bound():
    torch.manual_seed(8)
    model, guide = pair("tsbn")
    batch = copies(frames("bernoulli", 3), 4000)
    with torch.no_grad():
        bounds = [
            FIVO(model, guide, particles=k)(batch).report["fivo_nats_per_frame"] for k in (2, 4, 16)
        ]
        exact = output_log_probs(model, batch.x[:1, :3]) / 3
    assert bounds[0] < bounds[1] < bounds[2] < exact + 0.01


@pytest.mark.parametrize("objective", [FIVO, SIXO])
def test_weights_are_chosen_by_the_bound_of_the_filter(objective):
    torch.manual_seed(13)
    model = randomised(Recurrent(), 0.5).float()
    guide = randomised(SharedGuide(model), 0.5).float()
    valid = Sequences(frames("bernoulli", 5).numpy(), np.array([2, 3]))
    found = objective(model, guide, particles=16).validate(valid, seed=1)
    expected = bound(model, guide, valid, particles=16, estimator="fivo", seed=1)
    assert found.score == expected.nats_per_frame
    single = bound(model, guide, valid, estimator="elbo", seed=1)
    assert found.score > single.nats_per_frame + 0.05


def test_programs_without_frames_are_refused():
    model, guide = pair("tsbn")
    objective = FIVO(model, guide)
    objective.model = torch.nn.Identity()
    with pytest.raises(CompatibilityError, match="frame by frame"):
        objective(copies(frames("bernoulli", 3), 2))
