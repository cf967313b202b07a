"""Models of continuous latents over time, against quadrature and against joint normals."""

from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from continuous_pairs import FEATURES, LAYERS, ONE_EACH, PAIRS, away_from_kinks, by_quadrature, made
from linear_dynamics import ExactSmoothing, linear_dmm
from torch import nn

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.draws import score
from pyrodgm.engine.filtered import run_filter
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import (
    GuideTraits,
    SmoothingNormal,
    SRNNGuide,
    StepGuide,
    VRNNGuide,
)
from pyrodgm.models import TSBN, ModelTraits, Site, StepModel
from pyrodgm.objectives import ELBO
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import tiny_values
from variants import INFOS, WITH_CONDITIONS, D, conditions, frames, path_log_probs, randomised

CASES = [(name, "bernoulli", "gru") for name in PAIRS] + [
    *[("vrnn", e, c) for e in ("gaussian", "categorical", "multinomial") for c in ("lstm", "relu")],
    *[(name, "gaussian", "lstm") for name in ("storn", "srnn", "dmm")],
]


@pytest.mark.parametrize(("name", "emission", "cell"), CASES)
def test_both_executions_and_shared_states_agree(name, emission, cell):
    torch.manual_seed(0)
    model, guide = made(name, emission, latent_dim=2, cell=cell)
    x = frames(emission, 3, 4)
    mask = torch.arange(4) < torch.tensor([4, 2, 1])[:, None]
    batch = Batch(x * mask[..., None], mask, torch.arange(3))
    found = terms(model, guide, batch, 5)
    for program, expected in ((model, found.p), (guide, found.q)):
        for fused in (True, False):
            nats = path_log_probs(program, batch, found.values, fused=fused)
            for name, each in nats.items():
                torch.testing.assert_close(each, expected[name])


@pytest.mark.parametrize("name", ONE_EACH)
def test_conditions_enter_the_frame_and_later_ones(name):
    torch.manual_seed(1)
    info = replace(INFOS["bernoulli"], **WITH_CONDITIONS)
    model, guide = made(name, std=0.2, info=info)
    away_from_kinks(model, guide)
    given, _ = conditions(2, 3)
    batch = Batch.of(frames("bernoulli", 2, 3), given)
    found = terms(model, guide, batch, 4)
    torch.testing.assert_close(found.p["x"], score(model, batch, found.values)["x"])
    changed = given.clone()
    changed[:, 1, 0] += 1.0
    other = score(model, replace(batch, conditions=changed), found.values)["x"]
    assert torch.equal(other[..., 0], found.p["x"][..., 0])
    assert not torch.isclose(other[..., 1], found.p["x"][..., 1], rtol=1e-10).any()
    if model.states:  # without a recurrence, only latents reach later frames, and they are given
        assert not torch.isclose(other[..., 2], found.p["x"][..., 2], rtol=1e-10).any()
    else:
        assert torch.equal(other[..., 2], found.p["x"][..., 2])


@pytest.mark.parametrize(
    ("name", "kl"), [*[(name, "sampled") for name in ONE_EACH], ("vrnn", "analytic")]
)
def test_the_gradient_is_that_of_the_bound_by_quadrature(name, kl):
    torch.manual_seed(2)
    model, guide = made(name, std=0.1)
    away_from_kinks(model, guide)
    x = frames("bernoulli", 2)
    parameters = [*model.parameters(), *guide.parameters()]
    log_x, bound = by_quadrature(model, guide, x)
    assert bound < log_x
    exact = gradient(bound, parameters)
    objective = ELBO(model, guide, kl=kl)
    batch = Batch.of(x.expand(800, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_particle_filter_estimates_the_likelihood_without_bias(name):
    torch.manual_seed(3)
    model, guide = made(name, std=0.2)
    x = frames("bernoulli", 2)
    with torch.no_grad():
        if name == "storn":  # as wide as the prior, so that weights are bounded
            guide.numbers["z"].bias[1:] = 1.0
        log_x, _ = by_quadrature(model, guide, x)
        found = run_filter(model, guide, Batch.of(x.expand(16_000, -1, -1)), 3, threshold=0.9)
        assert_mean((found.increments().sum(-1) - log_x).exp()[:, None], 1.0)


class Linear(StepModel):
    """z_t = A z_{t-1} + e_t, x_t = C z_t + 0.5 f_t, with standard normal e and f."""

    traits = ModelTraits(latents="continuous", sequential=True)
    A, C = torch.tensor([[0.7, 0.3], [-0.2, 0.8]]).double(), torch.randn(D, 2).double()

    def __init__(self):
        super().__init__(INFOS["gaussian"])
        self.history, self.observed = 1, {"x": D}
        self.latents = {"z": Site(2, "continuous")}

    def step(self, draw, past, encoded, t):
        mean = past["z"] @ self.A.T
        z = draw("z", NormalVector(mean, torch.ones_like(mean)))
        mean = z @ self.C.T
        draw("x", NormalVector(mean, torch.full_like(mean, 0.5)))


class LinearGuide(StepGuide):
    """The exact posterior of z_t given z_{t-1} and x_t."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True, causal=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 1
        self.gain = nn.Parameter(torch.zeros(()))

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        a, c = self.model.A, self.model.C
        precision = torch.eye(2).double() + 4 * c.T @ c
        covariance = precision.inverse()
        mean = (past["z"] @ a.T + 4 * encoded @ c) @ covariance
        draw("z", dist.MultivariateNormal(mean, covariance))


def test_linear_dynamics_against_the_joint_normal_distribution():
    """The Kalman oracle: all frames of x are one normal vector."""
    torch.manual_seed(4)
    model, length = Linear(), 4
    guide = LinearGuide(model)
    powers = [torch.linalg.matrix_power(model.A, k) for k in range(length)]
    spread = torch.zeros(2 * length, 2 * length).double()
    root = torch.zeros_like(spread)
    for row in range(length):
        for column in range(row + 1):
            root[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = powers[row - column]
    spread = root @ root.T
    observe = torch.block_diag(*[model.C] * length)
    covariance = observe @ spread @ observe.T + 0.25 * torch.eye(D * length).double()
    joint = dist.MultivariateNormal(torch.zeros(D * length).double(), covariance)
    x = joint.sample()
    with torch.no_grad():
        batch = Batch.of(x.reshape(1, length, D).expand(20_000, -1, -1))
        found = run_filter(model, guide, batch, 4)
        assert_mean((found.increments().sum(-1) - joint.log_prob(x)).exp()[:, None], 1.0)


def test_a_linear_dmm_with_its_exact_posterior_has_no_gap_to_the_kalman_likelihood():
    torch.manual_seed(5)
    model, linear = linear_dmm()
    with torch.no_grad():
        joint = linear.joint(4, model.transition.start)
        x = joint.sample((3,))
        batch = Batch.of(x.reshape(3, 4, D))
        exact = terms(model, ExactSmoothing(model, linear), batch, 50).log_w.sum(-1)
        torch.testing.assert_close(exact, joint.log_prob(x).expand(50, 3))
        guide = randomised(SmoothingNormal(model, **LAYERS), 0.1)
        bound = terms(model, guide, batch, 2000).log_w.sum(-1).mean(0)
        assert (bound < joint.log_prob(x)).all()


def test_the_guide_refuses_a_model_without_such_a_recurrence():
    for guide in (VRNNGuide, SRNNGuide):
        with pytest.raises(CompatibilityError, match="shares the recurrence"):
            guide(TSBN(INFOS["bernoulli"]))


def test_killed_and_resumed(tiny, tmp_path):
    values = tiny_values(tiny)
    values["model"] = {"name": "vrnn", **FEATURES}
    fit_config(resolve(values), tmp_path / "whole")
    with pytest.raises(Killed):
        fit_config(resolve(values), tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
