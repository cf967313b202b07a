"""Adversarial variational Bayes: its two phases, its gradient with an exact critic, and runs."""

import json
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import SCALE, ExactRatio, LinearRows, NormalOfNoise, X, exact_bound
from torch import nn

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.likelihood.validation import ADVERSARIAL_ESTIMATE as ESTIMATE
from pyrodgm.guides import (
    DiagonalNormal,
    FeedForwardImplicit,
    ImplicitGuide,
    LayeredBernoulli,
    VRNNGuide,
)
from pyrodgm.models import SBN, VAE, VRNN
from pyrodgm.networks.quadratic_critic import products
from pyrodgm.objectives import AVB, ELBO, CriticELBO, CriticTerm
from pyrodgm.objectives.divergences import DIVERGENCES
from pyrodgm.setup import compat
from pyrodgm.setup.config import resolve

OPTIONS = {"steps": 4, "evaluate_every": 2, "batch_size": 4, "device": "cpu"}
SIZES = ["model.hidden_dim=4", "guide.hidden_dim=4", "objective.critic_dim=4", "data.copies=2"]
OWN = """
from torch import nn
from pyrodgm.engine.programs import join
from pyrodgm.guides import ImplicitGuide

class Shifted(ImplicitGuide):
    '''A linear map of a row and of noise.'''

    def __init__(self, model, *, noise_dim: int = 3):
        super().__init__(model, noise_dim=noise_dim)
        (self.name, site), *_ = self.latents.items()
        self.network = nn.Linear(model.info.dim + noise_dim, site.dim)

    def generate(self, noise, batch):
        return {self.name: self.network(join(batch.x, noise))}
"""


def tiny(splits, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(splits.info, hidden_dim=4)
        guide = FeedForwardImplicit(model, noise_dim=2, hidden_dim=4)
        return AVB(model, guide, critic_dim=4, **options)


def points():
    return dgm.data.load("avb-points", copies=3)


class Prior(nn.Module):
    """A critic that gives the latents themselves, to be seen."""

    def forward(self, batch, z):
        return z[..., 0] + 0 * batch.x[..., 0]


@pytest.mark.parametrize("contrast", ["prior", "adaptive"])
def test_the_mean_gradient_with_the_exact_ratio_is_that_of_the_bound(contrast):
    torch.manual_seed(0)
    model = LinearRows()
    guide = NormalOfNoise(model)
    known = NormalOfNoise(model).requires_grad_(False)
    own = {"contrast_particles": 5} if contrast == "adaptive" else {}
    made = AVB(model, guide, contrast=contrast, **own)
    made.critic = CriticTerm(ExactRatio(known))
    if contrast == "adaptive":
        kept = []
        of_batch = made.contrast_of
        made.contrast_of = lambda batch: kept.append(of_batch(batch)) or kept[-1]
        made.critic.critic.moments = lambda: (kept[-1].mean["z"], kept[-1].scale["z"])
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(exact_bound(model, guide, X).mean(), parameters)
    batch = Batch.of(X.repeat(500, 1)[:, None])
    samples = sample_gradients(lambda: -made.pair_loss(batch).surrogate, parameters, 100)
    assert_mean(samples, exact)
    found = made.pair_loss(batch).report[ESTIMATE]
    assert abs(float(found - exact_bound(model, guide, X).mean().detach())) < 0.3


@pytest.mark.parametrize("contrast", ["prior", "adaptive"])
def test_the_critic_compares_draws_of_the_guide_and_of_the_contrast_without_padding(contrast):
    torch.manual_seed(1)
    splits = points()
    made = tiny(splits, contrast=contrast, particles=3)
    made.critic, drawn = CriticTerm(Prior()), []
    loss = made.critic.loss
    made.critic.loss = lambda q, r, batch: drawn.append((q["z"], r["z"])) or loss(q, r, batch)
    x = torch.eye(4).repeat(2, 1, 1)
    batch = Batch(x, torch.tensor([[True, True, True, False], [True] * 4]), torch.arange(2))
    found = made.critic_loss(batch)
    (q, r), seen = drawn[0], batch.mask.expand(3, -1, -1)
    assert q.shape == r.shape == (3, 2, 4, 2)
    each = nn.functional.softplus(-q[..., 0]) + nn.functional.softplus(r[..., 0])
    torch.testing.assert_close(found.report["critic_loss"], each[seen].mean())
    torch.testing.assert_close(found.surrogate, each[seen].sum() / 3 / 2)
    assert set(found.report) == {"critic_loss"}


def test_phases_update_the_critic_and_then_model_and_guide():
    splits = points()
    made = tiny(splits, critic_steps=3, critic_lr=0.5)
    critic, pair = made.built_phases
    assert (critic.repeats, critic.fresh, critic.optimizer.lr) == (3, True, 0.5)
    assert set(map(id, critic.parameters())) == set(map(id, made.critic.parameters()))
    both = [*made.model.parameters(), *made.guide.parameters()]
    assert set(map(id, pair.parameters())) == set(map(id, both))
    batch = splits.train.batch(range(4))
    report = made(batch, 1).report
    assert set(report) == {AVB.headline}
    assert not any(word in AVB.headline for word in ("elbo", "bound"))
    with torch.no_grad():
        terms = made.trace(batch)
    torch.testing.assert_close(terms.kl["z"], made.critic.ratio(terms.values, batch))


def test_what_does_not_fit_is_refused_in_words():
    cases = [
        (SBN, LayeredBernoulli, AVB, "SBN has binary latents; AVB on SBN needs continuous"),
        (VRNN, VRNNGuide, AVB, "VRNN runs over time; AVB on VRNN needs one that has no time"),
        (VAE, FeedForwardImplicit, ELBO, "Implicit has no density; ELBO on VAE needs one that h"),
    ]
    for model, guide, objective, words in cases:
        with pytest.raises(CompatibilityError, match=words):
            compat.check_classes(model.form(), guide, objective)
    compat.check_classes(VAE.form(), DiagonalNormal, AVB)
    model = VAE(points().info, latent_dim=2)
    with pytest.raises(UsageError, match="contrast_particles is for contrast=adaptive"):
        AVB(model, DiagonalNormal(model), contrast_particles=4)
    fit = resolve({"model": {"name": "vae"}, "objective": {"name": "avb"}}).fit
    assert (fit.lr, fit.betas) == (1e-3, (0.5, 0.999))


@pytest.mark.parametrize(("step", "contrast"), [(1, "prior"), (3, "adaptive")])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, step, contrast):
    splits, own = points(), {"contrast": contrast}
    own |= {"contrast_particles": 3} if contrast == "adaptive" else {}
    dgm.fit(tiny(splits, **own), splits, out=tmp_path / "whole", **OPTIONS)
    killed = {"out": tmp_path / "killed", "watcher": Killer(step), **OPTIONS}
    with pytest.raises(Killed):
        dgm.fit(tiny(splits, **own), splits, **killed)
    dgm.resume(tmp_path / "killed", objective=tiny(splits, **own), splits=splits)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_critic_of_the_kl_divergence_converges_to_the_exact_ratio():
    """The critic is a quadratic form of (1, x, z), which the log ratio of two normals is.

    `test_critic_term.py` has the same of the logistic loss.
    """
    torch.manual_seed(0)
    guide = NormalOfNoise(LinearRows())
    exact, form = ExactRatio(guide), torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)

    class Quadratic(nn.Module):
        def forward(self, x, z):
            v = torch.cat([torch.ones_like(z), x, z], -1)
            return ((v @ form) * v).sum(-1)

    with torch.no_grad():
        x = torch.randn(50_000, 2, dtype=torch.float64)
        z = guide.mean(x)[:, None] + guide.log_scale.exp() * torch.randn_like(x[:, :1])
        prior = torch.randn_like(z)
    term = CriticTerm(Quadratic(), DIVERGENCES["kl"])
    newton = torch.optim.LBFGS([form], max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        newton.zero_grad()
        value = term.loss({"z": z}, {"z": prior}, x).mean()
        value.backward()
        return value

    newton.step(loss)
    with torch.no_grad():
        away = term.ratio({"z": z}, x) - exact(x, z)
        kl, estimate = exact(x, z).mean(), term.ratio({"z": z}, x).mean()
    assert away.square().mean().sqrt() < 0.1
    assert abs(estimate - kl) < 0.03


def test_a_plain_pyro_program_has_the_same_loss_and_gradient():
    ours, guide = LinearRows(), NormalOfNoise(LinearRows())
    critic = ExactRatio(NormalOfNoise(ours, offset=0.3).requires_grad_(False))
    made = AVB(ours, guide)
    made.critic = CriticTerm(critic)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            mean = z @ ours.weight.T + ours.centre
            pyro.sample("x", dist.Normal(mean, SCALE).to_event(1), obs=x)

    def own(x):
        with pyro.plate("data", len(x)):
            standard = dist.Normal(x.new_zeros(1), 1.0).to_event(1)
            noise = pyro.sample("noise", standard, infer={"is_auxiliary": True})
            z = guide.mean(x)[..., None] + guide.log_scale.exp() * noise
            pyro.sample("z", dist.Delta(z).to_event(1))

    parameters, x = [*ours.parameters(), *guide.parameters()], X.repeat(3, 1)
    torch.manual_seed(0)
    loss = made.pair_loss(Batch.of(x[:, None])).surrogate
    torch.manual_seed(0)
    plain = CriticELBO(made.critic).differentiable_loss(model, own, x) / len(x)
    torch.testing.assert_close(plain, loss)
    torch.testing.assert_close(gradient(plain, parameters), gradient(loss, parameters))


def test_an_inner_product_critic_has_terms_of_both_and_of_each():
    splits = points()
    made = tiny(splits, critic="inner-product", critic_own=True, divergence="kl")
    critic, batch = made.critic.critic, splits.train.batch(range(3))
    z = torch.randn(5, 3, 1, 2)
    f, g = critic.of_x(critic.inputs(batch.x)), critic.of_z(z)
    expected = (f * g)[..., :-1].sum(-1) + f[..., -1] + g[..., -1] + 0.5 * z.square().sum(-1)
    torch.testing.assert_close(critic(batch, z=z), expected)
    of_q, of_r = (torch.randn(5, 3, 1, 2) for _ in range(2))
    loss = made.critic.loss({"z": of_q}, {"z": of_r}, batch)
    torch.testing.assert_close(loss, critic(batch, z=of_r).exp() - 1 - critic(batch, z=of_q))
    plain = tiny(splits, critic="inner-product").critic.critic
    torch.testing.assert_close(
        plain(batch, z=z), (plain.of_x(plain.inputs(batch.x)) * plain.of_z(z)).sum(-1)
    )
    with pytest.raises(UsageError, match="critic_own is for critic=inner-product"):
        tiny(splits, critic="quadratic", critic_own=True)


def test_a_quadratic_critic_has_the_log_ratio_of_two_normals():
    """A distribution of two correlated latents beside a standard normal one."""
    splits = points()
    critic, batch = tiny(splits, critic="quadratic").critic.critic, splits.train.batch(range(3))
    mean, covariance = torch.tensor([0.4, -1.0]), torch.tensor([[0.5, 0.3], [0.3, 0.9]])
    q, r = (
        dist.MultivariateNormal(m, c) for m, c in ((mean, covariance), (mean * 0, torch.eye(2)))
    )
    inverse = covariance.inverse()
    quadratic = 0.5 * (torch.eye(2) - inverse)
    linear = torch.stack([quadratic[0, 0], 2 * quadratic[0, 1], quadratic[1, 1]])
    z = 3 * torch.randn(5, 3, 1, 2)
    with torch.no_grad():
        before = critic(batch, z=z)
        f, g = critic.of_x(critic.inputs(batch.x)), critic.of_z(products(z))
        own = (critic.coefficients(f) * products(z)).sum(-1)
        torch.testing.assert_close(before, own + (f * g).sum(-1))
        for part in (critic.of_x, critic.of_z):
            part[-1].weight.zero_()
            part[-1].bias.zero_()[0] = 1.0
        critic.of_z[-1].bias[0] = q.log_prob(0 * mean) - r.log_prob(0 * mean)
        critic.coefficients.weight.zero_()
        critic.coefficients.bias.copy_(torch.cat([inverse @ mean, linear]))
        torch.testing.assert_close(critic(batch, z=z), q.log_prob(z) - r.log_prob(z))


class Line(ImplicitGuide):
    """Two latents that are equal."""

    def generate(self, noise, batch):
        return {"z": noise.expand(*noise.shape[:-1], 2) + 0 * batch.x[..., :1]}


class Apart(nn.Module):
    """A critic that sees how far two latents are apart."""

    def forward(self, batch, z):
        return 1 - 1e6 * (z[..., 0] - z[..., 1]).square() + 0 * batch.x[..., 0]


@pytest.mark.parametrize("contrast", ["prior", "adaptive"])
def test_a_guide_that_collapses_to_a_line_is_named(contrast):
    splits = points()
    model = VAE(splits.info, hidden_dim=4)
    made = AVB(model, Line(model, noise_dim=1), contrast=contrast)
    made.critic = CriticTerm(Apart())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for seed in range(3):
            made.validate(splits.valid, seed=seed)
    named = [str(each.message) for each in caught if "collapsed to a line" in str(each.message)]
    assert len(named) == (contrast == "adaptive")


def test_the_weight_of_the_kl_term_is_that_of_the_critic():
    splits = points()
    batch = splits.train.batch(range(4))
    losses = {}
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        losses[weight] = tiny(splits, kl_weight=weight).eval()(batch, 1)
    zero, half, one = (losses[weight].surrogate for weight in losses)
    torch.testing.assert_close(half, (zero + one) / 2)
    assert zero != one
    assert len({float(each.report[ESTIMATE]) for each in losses.values()}) == 1


def test_it_goes_beyond_the_local_optimum_of_a_normal_guide():
    """Its log-likelihood is -1.568; that of independent pixels is -2.249."""
    splits = dgm.data.load("avb-points", copies=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(splits.info, hidden_dim=(64, 64))
        guide = FeedForwardImplicit(model, noise_dim=8, hidden_dim=(64, 64))
        made = AVB(model, guide, critic_dim=(64, 64), critic_lr=4e-3)
    run = dgm.fit(made, splits, steps=300, lr=4e-3, evaluate_every=300, averaging=0.0)
    assert run.chosen_by == "exact"
    assert -1.55 < run.evaluate("test").nats_per_frame < -1.386


def test_commands_work_or_say_why_not(cli, tmp_path):
    run, other, own = tmp_path / "run", tmp_path / "other", tmp_path / "own.py"
    own.write_text(OWN)
    settings = [word for size in SIZES for word in ("--set", size)]
    given = ["fit", "--model", "vae", "--objective", "avb", "--data", "avb-points", "--steps", 2]
    made = cli(*given, "--guide", "implicit", *settings, "--out", run)
    assert "VAE, log-likelihood by quadrature" in made.out
    assert "pyrodgm check" not in made.out
    without = [*settings[:2], *settings[4:]]
    assert cli(*given, "--guide", f"{own}:Shifted", *without, "--out", other).code == 0
    found = json.loads(cli("evaluate", run, "--json").out)
    assert (found["estimator"], found["chosen_by"], found["examples"]) == ("quadrature", "exact", 8)
    parts = {"reconstruction_error_nats_per_pixel", "aggregate_kl_nats", ESTIMATE}
    assert found.keys() >= {*parts, "elbo_nats_per_frame", "adversarial_excess_nats_per_frame"}
    assert found["elbo_nats_per_frame"] is None
    assert "the estimate less the log-likelihood" in cli("evaluate", run).out
    ranked = json.loads(cli("compare", run, other, "--json").out)["runs"]
    assert [row["estimator"] for row in ranked] == ["quadrature"] * 2
    assert cli("sample", run, "--num", 3, "--out", tmp_path / "x.png").code == 0
    assert cli("report", run).code == 0
    page = (run / "report.html").read_text()
    assert "test, nats per frame (by quadrature)" in page
    assert "Latents of each row" in page
    refused = {
        ("check", run): "has no density that can be computed",
        ("predict", run): "draws the latents of independent rows",
        ("evaluate", run, "--estimator", "iwae"): "has no density that can be computed",
    }
    for command, words in refused.items():
        said = cli(*command)
        assert said.code == 2
        assert words in said.err
