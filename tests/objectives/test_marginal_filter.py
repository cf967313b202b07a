"""Marginal particle filters: unbiased for the likelihood, and tighter than those of ancestors."""

import pytest
import torch
from continuous_pairs import by_quadrature, made

from oracles import Enumerated, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.marginal import MarginalFilter, run_marginal_filter
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.objectives import FIVO
from variants import VARIANTS, frames, mild, output_log_probs, pair

ALWAYS, NEVER = 1.1, 0.0
FALSE_POSITIVE_ERRORS = 4.7  # standard errors of a mean, at a rate of 2e-5


def copies(x, number, padding=1):
    """One sequence many times, with padded frames of junk."""
    length = x.shape[0] + padding
    padded = torch.cat([x, torch.full_like(x[:padding], 0.5)])
    mask = (torch.arange(length) < len(x)).expand(number, -1)
    return Batch(padded.expand(number, -1, -1), mask, torch.arange(number))


@pytest.mark.parametrize("name", ["tsbn", "dtsbn-s", "srnn"])
@pytest.mark.parametrize("threshold", [0.7, ALWAYS])
def test_ratios_of_all_frames_at_once_are_those_of_the_filter(name, threshold):
    torch.manual_seed(0)
    model, guide = made(name) if name == "srnn" else pair(name)
    batch = copies(frames("bernoulli", 4), 6)
    batch.mask[0, 2:] = False  # a shorter sequence
    batch.seen = batch.mask[..., None].expand_as(batch.x).clone()
    batch.seen[1, 1] = False  # a missing frame
    torch.manual_seed(1)
    expected = MarginalFilter(model, guide, batch, 5, threshold=threshold).run()
    torch.manual_seed(1)
    found = run_marginal_filter(model, guide, batch, 5, threshold=threshold)
    torch.testing.assert_close(found.increments(), torch.stack(expected.increments, -1))
    torch.manual_seed(1)
    plain = run_filter(model, guide, batch, 5, threshold=threshold)
    for name, nats in plain.log_q.items():  # given their own ancestors
        torch.testing.assert_close(found.log_q[name][:, :, 0], nats[:, :, 0])
    torch.testing.assert_close(found.increments()[:, 0], plain.increments()[:, 0])
    assert not torch.isclose(found.increments()[2, 1], plain.increments()[2, 1])


@pytest.mark.parametrize("threshold", [NEVER, 0.8, ALWAYS])
def test_bits_the_likelihood_is_estimated_without_bias(threshold):
    torch.manual_seed(2)
    model, guide = mild("tsbn")
    x = frames("bernoulli", VARIANTS["tsbn"].length)
    with torch.no_grad():
        exact = output_log_probs(model, x[None]).exp()
        found = run_marginal_filter(model, guide, copies(x, 30_000), 2, threshold=threshold)
        assert_mean(found.increments().sum(-1).exp()[:, None], exact)


@pytest.mark.parametrize("name", ["dmm", "srnn"])
def test_numbers_the_likelihood_is_estimated_without_bias_and_the_bound_is_tighter(name):
    """On the same draws: a marginal weight is the mean of the others over the ancestors."""
    torch.manual_seed(3)
    model, guide = made(name, std=0.5)
    x = frames("bernoulli", 2)
    batch, found = copies(x, 20_000), []
    with torch.no_grad():
        log_x, _ = by_quadrature(model, guide, x)
        for run in (run_marginal_filter, run_filter):
            torch.manual_seed(4)
            found.append(run(model, guide, batch, 3, threshold=ALWAYS).increments().sum(-1))
        assert_mean((found[0] - log_x).exp()[:, None], 1.0)
    gain = found[0] - found[1]
    assert gain.mean() > FALSE_POSITIVE_ERRORS * gain.std() / len(gain) ** 0.5


def test_one_frame_of_bits_has_the_gradient_of_several_draws():
    """Without a past, every ancestor is alike."""
    torch.manual_seed(4)
    model, guide = pair("tsbn")
    x = frames("bernoulli", 1)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(Enumerated(model, guide, x).iwae(2), parameters)
    objective = FIVO(model, guide, particles=2, signal="future", marginal=True)
    batch = copies(x, 1500)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=24)
    assert_mean(samples, exact)


def test_draws_with_gradients_are_differentiated_through():
    """Two frames by finite differences of the bound, with the same noise and no resampling."""
    torch.manual_seed(5)
    model, guide = made("dmm", std=0.3)
    batch = copies(frames("bernoulli", 2), 3)

    def loss():
        torch.manual_seed(6)
        return FIVO(model, guide, threshold=NEVER, marginal=True)(batch).surrogate

    parameters = [*model.parameters(), *guide.parameters()]
    found = gradient(loss(), parameters)
    direction = [torch.randn_like(p) for p in parameters]
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            for p, way in zip(parameters, direction, strict=True):
                p.add_(step * way)
            ends.append(loss())
    along = found @ torch.cat([way.flatten() for way in direction])
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, along, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["vrnn", "storn"])
def test_models_that_are_not_markov_in_their_latents_are_refused(name):
    model, guide = made(name)
    objective = FIVO(model, guide, marginal=True)
    with pytest.raises(CompatibilityError, match="depends on all latents so far"):
        objective(copies(frames("bernoulli", 2), 2))


def test_more_lags_and_stop_gradients_are_refused():
    model, guide = pair("tsbn order 2")
    with pytest.raises(CompatibilityError, match="looks at 2 frames"):
        FIVO(model, guide, marginal=True)(copies(frames("bernoulli", 2), 2))
    with pytest.raises(UsageError, match="own ancestor"):
        FIVO(model, guide, marginal=True, resampling="stop-gradient")
