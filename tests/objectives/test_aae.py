"""Adversarial and Wasserstein autoencoders: discrepancies against quadrature, costs, and runs."""

import math

import pytest
import torch
from linear_gaussian import INFO, SCALE, LinearRows, NormalOfNoise

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.errors import CompatibilityError, CriticWarning, UsageError
from pyrodgm.guides import DiagonalNormal, FeedForwardImplicit
from pyrodgm.models import VAE, FeedForwardGenerator
from pyrodgm.objectives import AAE
from pyrodgm.objectives.aae import KL, MMD
from pyrodgm.objectives.mmd import squared_mmd
from pyrodgm.objectives.reconstructed import RECONSTRUCTION

X = torch.tensor([[0.6, -1.1], [-0.4, 0.3], [2.0, 0.9]], dtype=torch.float64)
GRID = torch.linspace(-9, 9, 361, dtype=torch.float64)
OPTIONS = {"steps": 4, "evaluate_every": 2, "batch_size": 8, "device": "cpu"}


def discrepancy(name, log_q, log_p, scale):
    """The squared MMD of two distributions of one number, by quadrature."""
    apart = (GRID[:, None] - GRID).square()
    gram = scale / (scale + apart) if name == "imq" else torch.exp(-apart / scale)
    off = (log_q.exp() - log_p.exp()) * (GRID[1] - GRID[0])
    return off @ gram @ off


@pytest.mark.parametrize("name", ["imq", "rbf"])
def test_the_estimate_of_the_discrepancy_is_unbiased(name):
    torch.manual_seed(0)
    q, p = torch.distributions.Normal(0.7, 0.6), torch.distributions.Normal(0.0, 1.0)
    exact = discrepancy(name, q.log_prob(GRID), p.log_prob(GRID), 2.0)
    found = torch.stack([
        squared_mmd(name, q.sample((100, 1)).double(), p.sample((50, 1)).double(), 2.0)
        for _ in range(3000)
    ])  # fmt: skip
    assert_mean(found[:, None], exact)


def game(**options):
    model = LinearRows(INFO)
    return AAE(model, NormalOfNoise(model), **options)


def test_the_gradient_by_a_kernel_is_that_of_cost_and_discrepancy():
    """The cost in closed form, the aggregate of the rows by quadrature."""
    torch.manual_seed(0)
    made = game(by="mmd", weight=5.0, kernel="rbf", kernel_scale=2.0)
    guide, model = made.guide, made.model
    # A batch has each row equally often, and the estimate leaves out pairs of a row with itself.
    times = 40
    mean, scale = guide.mean(X), guide.log_scale.exp()
    each = torch.distributions.Normal(mean[:, None], scale).log_prob(GRID)
    q = each.logsumexp(0) - math.log(len(X))
    p = torch.distributions.Normal(0.0, 1.0).log_prob(GRID)
    gram = torch.exp(-((GRID[:, None] - GRID).square()) / 2.0)
    step = float(GRID[1] - GRID[0])
    alike = torch.stack([e.exp() @ gram @ e.exp() for e in each]).mean() * step**2
    within = (q.exp() @ gram @ q.exp()) * step**2
    n = times * len(X)
    correction = (within * n - alike) / (n - 1) - within
    error = X - mean[:, None] * model.weight[:, 0] - model.centre
    spread = scale**2 * model.weight[:, 0].square().sum()
    cost = (error.square().sum(-1) + spread).mean() / (2 * SCALE**2)
    exact = cost + 5 * (discrepancy("rbf", q, p, 2.0) + correction)
    parameters = [*model.parameters(), *guide.parameters()]
    batch = Batch.of(X.repeat(times, 1)[:, None])
    samples = sample_gradients(lambda: made.pair_loss(batch).surrogate, parameters, 300)
    assert_mean(samples, gradient(exact, parameters))


def test_the_guide_plays_against_the_critic_on_latents_alone():
    torch.manual_seed(0)
    batch = Batch.of(X[:, None])
    for kind, slope in (("logd", torch.sigmoid), ("minimax", lambda v: torch.sigmoid(-v))):
        made = game(weight=3.0, generator_loss=kind).double()
        z = torch.randn(1, 3, 1, 1, dtype=torch.float64, requires_grad=True)
        value, report = made.divergence(z, batch)
        of_z = made.critic(z)
        torch.testing.assert_close(report[KL], of_z.mean().detach())
        (by_critic,) = torch.autograd.grad(of_z.sum(), z, retain_graph=True)
        (found,) = torch.autograd.grad(value, z)
        torch.testing.assert_close(found, slope(of_z.detach()) * by_critic / 3)
    loss = made.critic_loss(batch)
    assert set(loss.report) == {"critic_loss", "critic_accuracy"}
    assert gradient(loss.surrogate, list(made.guide.parameters())).eq(0).all()


def points(name="gmm5"):
    return dgm.data.load(name, num_train=40, num_valid=8, num_test=8)


def tiny(splits, model=FeedForwardGenerator, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = model(splits.info, latent_dim=3, hidden_dim=4)
        return AAE(made, FeedForwardImplicit(made, noise_dim=2, hidden_dim=4), **options)


@pytest.mark.parametrize("by", ["critic", "mmd"])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, by):
    splits = points()
    dgm.fit(tiny(splits, by=by), splits, out=tmp_path / "whole", **OPTIONS)
    made = tiny(splits, by=by)
    with pytest.raises(Killed):
        dgm.fit(made, splits, out=tmp_path / "killed", watcher=Killer(3), **OPTIONS)
    dgm.resume(tmp_path / "killed", objective=tiny(splits, by=by), splits=splits)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_batch_of_one_row_leaves_out_the_kernel_and_no_batch_of_two_is_named(tmp_path):
    splits = dgm.data.load("gmm5", num_train=41, num_valid=8, num_test=8)  # five batches and a row
    run = dgm.fit(tiny(splits, by="mmd"), splits, out=tmp_path, **(OPTIONS | {"steps": 6}))
    assert MMD in run.validation("valid").numbers
    alone = tiny(splits, by="mmd")
    alone(splits.training.batch([0]), 0)
    with pytest.warns(CriticWarning, match="give a larger fit"):
        alone.eval().validate(splits.valid)


def test_what_validation_says_and_chooses_by():
    splits = points()
    found = tiny(splits, by="mmd").validate(splits.valid)
    assert (found.by, found.score) == ("nothing", None)
    assert {MMD, RECONSTRUCTION, "cost_per_frame", "active_units"} == set(found.numbers)
    model = VAE(splits.info, latent_dim=2, hidden_dim=4)
    found = AAE(model, DiagonalNormal(model, hidden_dim=4)).validate(splits.valid)
    assert found.by == "exact"
    assert {KL, RECONSTRUCTION, "critic_accuracy"} <= set(found.numbers)


def test_what_does_not_fit_is_refused_in_words():
    splits = points()
    with pytest.raises(UsageError, match="kernel and kernel_scale are of by='mmd', but by is 'cri"):
        tiny(splits, kernel="rbf")
    for option in ({"critic_dim": 7}, {"critic_steps": 2}, {"generator_loss": "minimax"}):
        with pytest.raises(UsageError, match="by is 'mmd', which has no critic"):
            tiny(splits, by="mmd", **option)
    with pytest.raises(CompatibilityError, match=r"has no density; take objective.cost=l2 or l1"):
        tiny(splits, cost="likelihood")
    assert tiny(splits).cost == "l2"
    assert tiny(splits, VAE).cost == "likelihood"
