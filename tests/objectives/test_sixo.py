"""Twisted particle filters: unbiased for every twist, exact for the exact one; how it learns."""

import pytest
import torch
from continuous_pairs import by_quadrature, made
from linear_dynamics import ExactSmoothing, ExactTwist, linear_dmm
from torch import nn

from oracles import Enumerated, all_paths, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.draws import score
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.twist import TwistedFilter, followed
from pyrodgm.errors import UsageError
from pyrodgm.networks.critics import FutureCritic
from pyrodgm.objectives import SIXO
from variants import VARIANTS, D, frames, mild, output_log_probs, pair, randomised

ALWAYS, NEVER = 1.1, 0.0


def copies(x, number, padding=1):
    """One sequence many times, with padded frames of junk."""
    length = x.shape[0] + padding
    padded = torch.cat([x, torch.full_like(x[:padding], 0.5)])
    mask = (torch.arange(length) < len(x)).expand(number, -1).clone()
    return Batch(padded.expand(number, -1, -1), mask, torch.arange(number))


def random_twist(model):
    return randomised(FutureCritic(model.info, model.latents, (3, 4)))


@pytest.mark.parametrize("variant", ["tsbn order 2", "dtsbn-d order 2"])
@pytest.mark.parametrize("threshold", [0.7, ALWAYS])
def test_ratios_of_all_frames_at_once_are_those_of_the_filter(variant, threshold):
    torch.manual_seed(0)
    model, guide = pair(variant)
    twist = random_twist(model)
    batch = copies(frames("bernoulli", 4), 6)
    batch.mask[0, 2:] = False  # a shorter sequence
    batch.seen = batch.mask[..., None].expand_as(batch.x).clone()
    batch.seen[1, 1] = False  # a missing frame
    torch.manual_seed(1)
    filter_ = TwistedFilter(model, guide, batch, 5, threshold=threshold, twist=twist).run()
    torch.manual_seed(1)
    found = run_filter(model, guide, batch, 5, threshold=threshold, twist=twist)
    torch.testing.assert_close(found.increments(), torch.stack(filter_.increments, -1))
    plain = run_filter(model, guide, batch, 5, threshold=threshold)
    assert not torch.isclose(found.increments(), plain.increments())[batch.mask].all()


@pytest.mark.parametrize(("variant", "threshold"), [("tsbn", 0.8), ("dtsbn-d", ALWAYS)])
def test_bits_the_likelihood_is_estimated_without_bias(variant, threshold):
    torch.manual_seed(2)
    model, guide = mild(variant)
    x, twist = frames("bernoulli", VARIANTS[variant].length), random_twist(model)
    with torch.no_grad():
        exact = output_log_probs(model, x[None]).exp()
        batch = copies(x, 40_000)
        found = run_filter(model, guide, batch, 2, threshold=threshold, twist=twist)
        assert_mean(found.increments().sum(-1).exp()[:, None], exact)


@pytest.mark.parametrize("name", ["vrnn", "dmm"])
def test_numbers_the_likelihood_is_estimated_without_bias(name):
    torch.manual_seed(3)
    model, guide = made(name, std=0.2)
    x, twist = frames("bernoulli", 2), random_twist(model)
    with torch.no_grad():
        log_x, _ = by_quadrature(model, guide, x)
        found = run_filter(model, guide, copies(x, 16_000), 3, threshold=0.9, twist=twist)
        assert_mean((found.increments().sum(-1) - log_x).exp()[:, None], 1.0)


def linear(length=4, sequences=3):
    """A linear model and guide, data, its log-likelihood, and the exact twist."""
    model, dynamics = linear_dmm()
    with torch.no_grad():
        joint = dynamics.joint(length, model.transition.start)
        x = joint.sample((sequences,))
    batch = Batch.of(x.reshape(sequences, length, D))
    return model, ExactSmoothing(model, dynamics), batch, joint.log_prob(x), ExactTwist(dynamics)


@pytest.mark.parametrize("threshold", [0.5, ALWAYS])
def test_the_exact_twist_and_proposal_have_no_variance(threshold):
    torch.manual_seed(4)
    model, guide, batch, exact, twist = linear()
    with torch.no_grad():
        options = {"threshold": threshold, "twist": twist}
        for seed in range(3):
            torch.manual_seed(seed)
            found = run_filter(model, guide, batch, 3, **options)
            torch.testing.assert_close(found.increments().sum(-1), exact)
        plain = run_filter(model, guide, batch, 3, threshold=ALWAYS)
        assert ((plain.increments().sum(-1) - exact).abs() > 0.01).all()


def test_weights_of_the_exact_twist_have_the_gradient_of_the_likelihood():
    """Gradient "rws": the mean of the exact posterior, by Fisher's identity."""
    torch.manual_seed(5)
    model, guide, batch, _, twist = linear(3, 1)
    dynamics = twist.linear
    a = dynamics.A = dynamics.A.clone().requires_grad_()
    joint = dynamics.joint(3, model.transition.start.detach())
    exact = gradient(joint.log_prob(batch.x.flatten()), [a])
    dynamics.A = a.detach()
    objective = SIXO(model, guide, particles=4, gradient="rws")
    objective.twist = twist
    many = Batch.of(batch.x.expand(2000, -1, -1))
    moved = [model.transition.linear.weight]
    samples = sample_gradients(lambda: -objective.pair_loss(many).surrogate, moved, calls=24)
    assert_mean(samples, exact)


def test_without_resampling_the_twist_cancels_and_the_gradient_is_that_of_several_draws():
    torch.manual_seed(6)
    model, guide = pair("tsbn")
    x = frames("bernoulli", 2)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(Enumerated(model, guide, x).iwae(2), parameters)
    objective = SIXO(model, guide, particles=2, threshold=NEVER, signal="future", twist_dim=3)
    objective.twist = randomised(objective.twist, 0.3)
    batch = copies(x, 1500)
    samples = sample_gradients(lambda: -objective.pair_loss(batch).surrogate, parameters, calls=24)
    assert_mean(samples, exact)
    objective.pair_loss(batch).surrogate.backward()
    assert all(p.grad is None and p.requires_grad for p in objective.twist.parameters())


def number(bits):
    """The place of bits (..., J) among all of them, as `all_paths` has them."""
    powers = 2 ** torch.arange(bits.shape[-1] - 1, -1, -1)
    return (bits * powers).sum(-1).long()


class Table(nn.Module):
    """A twist with a number for every pair of latents and following frame."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = nn.Parameter(numbers)

    def encode(self, batch):
        return torch.cat([batch.x[:, 1:], batch.x[:, :1]], 1)

    def forward(self, values, encoded):
        return self.numbers[number(values["z"]), number(encoded)]


def test_the_density_ratio_is_the_optimum_of_the_twists_loss():
    """Two frames of bits: its gradient is that of the exact loss, which is zero at the ratio."""
    torch.manual_seed(7)
    model, guide = pair("hmsbn")
    z, x = all_paths(2, 2), all_paths(1, D)  # (16, 2, 2), (8, 1, D)
    batch = Batch.of(x.expand(-1, 2, -1))
    batch.seen = torch.ones_like(batch.x, dtype=torch.bool)
    batch.seen[:, 0] = False  # the first frame is summed out
    paths = {"z": z[:, None].expand(-1, len(x), -1, -1)}
    with torch.no_grad():
        log_p = sum(score(model, batch, paths).values()).sum(-1)
    joint = log_p.exp().view(4, 4, len(x)).sum(1)  # p(z_1, x_2)
    torch.testing.assert_close(joint.sum(), torch.ones(()).double())
    product = joint.sum(1, keepdim=True) * joint.sum(0)

    def exact(numbers):
        return product * numbers.sigmoid() - joint * (-numbers).sigmoid()

    assert exact(joint.log() - product.log()).abs().max() < 1e-12
    objective = SIXO(model, guide)
    objective.twist = Table(torch.randn_like(joint))
    many = Batch.of(torch.zeros(4000, 2, D).double())
    samples = sample_gradients(
        lambda: objective.twist_loss(many).surrogate, [objective.twist.numbers], calls=60
    )
    assert_mean(samples, exact(objective.twist.numbers.detach()).flatten())


def test_the_learned_twist_sees_nothing_but_the_frames_to_come():
    torch.manual_seed(8)
    model, _ = pair("tsbn")
    twist = random_twist(model)
    x = frames("bernoulli", 1, 4)
    batch, other = Batch.of(x), Batch.of(torch.cat([torch.rand_like(x[:, :2]), x[:, 2:]], 1))
    z = {"z": torch.rand(5, 1, 4, 2).double().round()}
    found, changed = (twist(z, twist.encode(each)) for each in (batch, other))
    assert torch.equal(found[..., 1:], changed[..., 1:])
    assert not torch.isclose(found[..., 0], changed[..., 0]).any()
    assert followed(batch).tolist() == [[True, True, True, False]]


def test_a_signal_for_weights_is_refused():
    model, guide = pair("tsbn")
    with pytest.raises(UsageError, match="no score gradient"):
        SIXO(model, guide, gradient="rws", signal="future")


def test_the_loss_of_the_twist_is_a_sum_over_frames_per_sequence():
    """At the start r = 1, and every frame but the last of a sequence has 2 log 2 nats."""
    model, guide = pair("tsbn")
    batch = copies(frames("bernoulli", 4), 2)
    batch.mask[0, 2:] = False
    found = SIXO(model, guide).double().twist_loss(batch)
    each = 2 * torch.tensor(2.0).double().log()
    torch.testing.assert_close(found.surrogate, each * (1 + 3) / 2)
    torch.testing.assert_close(found.report["twist_loss"], each)
