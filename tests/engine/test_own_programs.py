"""Our objectives on Pyro programs of every shape: gradients and losses beside the exact ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.testing.rejection_gamma import RejectionStandardGamma
from pyro.infer import SVI, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal, AutoNormalMessenger
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

from oracles import assert_mean, gradient
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.objectives import ELBO, NVIL, RLOO, ObjectiveELBO

KINDS = {"elbo": ELBO, "nvil": NVIL, "rloo": RLOO}
X = torch.tensor([-0.5, 2.0, 1.0], dtype=torch.float64)


@pytest.fixture(autouse=True)
def _own_param_store():
    pyro.set_rng_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # as in X, or Pyro's enumeration stops
    with pyro.get_param_store().scope():
        yield
    torch.set_default_dtype(before)


def objective(kind: str, **options: Any) -> ObjectiveELBO:
    return ObjectiveELBO(KINDS[kind], **{"particles": 2000, "vectorize_particles": True} | options)


def gradients(
    elbo: ObjectiveELBO, model: Callable, guide: Callable, parameters: list[Tensor], calls: int = 16
) -> Tensor:
    """Gradients of independent calls, after NVIL's baseline has learned all that it can."""
    if networks := list(elbo(model, guide).objectives.parameters()):
        optimiser = torch.optim.Adam(networks, lr=0.05)
        for _ in range(20):
            optimiser.zero_grad()
            elbo.differentiable_loss(model, guide).backward()
            optimiser.step()
    losses = (elbo.differentiable_loss(model, guide) for _ in range(calls))
    return torch.stack([gradient(loss, parameters) for loss in losses])


def enumerated(
    model: Callable, guide: Callable, parameters: list[Tensor], nesting: int = 1
) -> Tensor:
    """The exact gradient by Pyro's own enumeration over the guide's discrete sites."""
    elbo = TraceEnum_ELBO(max_plate_nesting=nesting, strict_enumeration_warning=False)
    return gradient(elbo.differentiable_loss(model, config_enumerate(guide)), parameters)


def parameters() -> tuple[Tensor, Tensor]:
    """Of the model and of the guide."""
    w, lam = torch.tensor([0.7, -0.4], dtype=torch.float64).unbind()
    return w.clone().requires_grad_(), lam.clone().requires_grad_()


def bit(name: str, logits: Tensor, **options: Any) -> Tensor:
    return pyro.sample(name, dist.Bernoulli(logits=logits), **options)


def observed_function_of_a_draw(w: Tensor, lam: Tensor):
    def model():
        with pyro.plate("data", 3):
            z = bit("z", torch.zeros_like(w))
            mean = pyro.deterministic("mean", 3 * w * z)
            pyro.sample("residual", dist.Normal(0.0, 1.0), obs=X - mean)

    def guide():
        with pyro.plate("data", 3):
            bit("z", lam * X)

    return model, guide


def two_plates_in_a_row(w: Tensor, lam: Tensor):
    def model():
        for name, size in (("first", 3), ("second", 2)):
            with pyro.plate(name, size):
                z = bit(f"z_{name}", torch.zeros_like(w))
                pyro.sample(f"x_{name}", dist.Normal(w * z, 1.0), obs=X[:size])

    def guide():
        for name, size in (("first", 3), ("second", 2)):
            with pyro.plate(name, size):
                bit(f"z_{name}", lam * X[:size])

    return model, guide


def draw_that_all_rows_share(w: Tensor, lam: Tensor):
    def model():
        shared = bit("shared", torch.zeros_like(w))
        with pyro.plate("particles", 3):
            z = bit("z", w * shared)
            pyro.sample("x", dist.Normal(w * z + shared, 1.0), obs=X)

    def guide():
        shared = bit("shared", lam)
        with pyro.plate("particles", 3):
            bit("z", lam * X + shared)

    return model, guide


def nested_plates(w: Tensor, lam: Tensor):
    def model():
        with pyro.plate("rows", 3):
            z = bit("z", torch.zeros_like(w))
            with pyro.plate("columns", 2, dim=-2):
                y = bit("y", w * z)
                pyro.sample("x", dist.Normal(w * y, 1.0), obs=torch.stack([X, -X]))

    def guide():
        with pyro.plate("rows", 3):
            z = bit("z", lam * X)
            with pyro.plate("columns", 2, dim=-2):
                bit("y", lam + z)

    return model, guide


def mask_from_a_draw(w: Tensor, lam: Tensor):
    def model():
        with pyro.plate("data", 3):
            z = bit("z", torch.zeros_like(w))
            with poutine.mask(mask=z > 0):
                y = bit("y", w)
                pyro.sample("x", dist.Normal(w * y, 1.0), obs=X)

    def guide():
        with pyro.plate("data", 3):
            bit("z", lam * X)
            bit("y", lam)

    return model, guide


def auxiliary_draw(w: Tensor, lam: Tensor):
    def model():
        with pyro.plate("data", 3):
            for t in range(2):
                z = bit(f"z{t}", torch.zeros_like(w))
                pyro.sample(f"x{t}", dist.Normal(w * z, 1.0), obs=X)

    def guide():
        with pyro.plate("data", 3):
            z = bit("z0", lam * X)
            a = bit("a", lam + z, infer={"is_auxiliary": True})
            bit("z1", lam * X + a)

    return model, guide


def integers_and_precisions(w: Tensor, lam: Tensor, dtype: torch.dtype = torch.float64):
    def model():
        with pyro.plate("data", 3):
            z = bit("z", torch.zeros_like(w))
            pyro.sample("count", dist.Poisson((w * z).exp()), obs=torch.tensor([1, 0, 4]))
            mean = (w * z).to(dtype)
            pyro.sample("x", dist.Normal(mean, torch.ones_like(mean)), obs=X.to(dtype))

    def guide():
        with pyro.plate("data", 3):
            bit("z", lam * X)

    return model, guide


PROGRAMS = [
    observed_function_of_a_draw,
    two_plates_in_a_row,
    draw_that_all_rows_share,
    nested_plates,
    mask_from_a_draw,
    auxiliary_draw,
    integers_and_precisions,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_gradients_equal_enumeration(program, kind: str) -> None:
    both = parameters()
    model, guide = program(*both)
    exact = enumerated(model, guide, list(both), nesting=2)
    assert_mean(gradients(objective(kind), model, guide, list(both)), exact, power=0.2)


def test_single_precision_beside_double() -> None:
    both = parameters()
    exact = enumerated(*integers_and_precisions(*both), list(both))
    model, guide = integers_and_precisions(*both, dtype=torch.float32)
    assert_mean(gradients(objective("nvil"), model, guide, list(both)), exact, power=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_one_after_the_other_have_the_same_gradient(kind: str) -> None:
    both = parameters()
    model, guide = draw_that_all_rows_share(*both)
    elbo = objective(kind, particles=10, vectorize_particles=False)
    found = gradients(elbo, model, guide, list(both), calls=25)
    assert_mean(found, enumerated(model, guide, list(both)), power=0.8)


class Branches:
    """A chain that goes on until it draws a zero, and the bound summed over its ends."""

    def __init__(self, w: Tensor, lam: Tensor) -> None:
        self.w, self.lam = w, lam

    def model(self) -> None:
        for t in range(3):
            z = bit(f"z{t}", torch.zeros_like(self.w))
            pyro.sample(f"x{t}", dist.Normal(self.w * z - 2, 1.0), obs=X[t])
            if not z:
                break

    def guide(self) -> None:
        for t in range(3):
            if not bit(f"z{t}", self.lam * X[t]):
                break

    def bound(self) -> Tensor:
        total, reached = torch.zeros(()), torch.ones(())
        for t in range(3):
            for z in torch.tensor([0.0, 1.0]):
                log_q = dist.Bernoulli(logits=self.lam * X[t]).log_prob(z)
                log_p = dist.Normal(self.w * z - 2, 1.0).log_prob(X[t]) - torch.tensor(2.0).log()
                total = total + reached * log_q.exp() * (log_p - log_q)
            reached = reached * torch.sigmoid(self.lam * X[t])
        return total


@pytest.mark.parametrize("kind", ["nvil", "rloo"])
def test_a_program_that_branches_on_its_draws(kind: str) -> None:
    """The number of frames is drawn, so that a baseline for each frame would know the draw."""
    both = parameters()
    program = Branches(*both)
    elbo = objective(kind, particles=12, vectorize_particles=False)
    found = gradients(elbo, program.model, program.guide, list(both))
    assert_mean(found, -gradient(program.bound(), both), power=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rejection_sampler_has_a_score_part_too(kind: str) -> None:
    shape = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    prior = dist.Gamma(torch.tensor(4.0, dtype=torch.float64), torch.ones((), dtype=torch.float64))

    def model():
        pyro.sample("z", prior)

    def guide():
        pyro.sample("z", RejectionStandardGamma(shape))

    exact = gradient(
        torch.distributions.kl_divergence(
            torch.distributions.Gamma(shape, torch.ones_like(shape)),
            torch.distributions.Gamma(prior.concentration, prior.rate),
        ),
        [shape],
    )
    assert_mean(gradients(objective(kind), model, guide, [shape]), exact, power=0.2)


def normal_loss(loc: float, scale: float, x: float) -> float:
    """Minus the bound for z ~ N(0, 1), x ~ N(z, 1), q(z) = N(loc, scale)."""
    q, p = torch.distributions.Normal(loc, scale), torch.distributions.Normal(0.0, 1.0)
    likelihood = torch.distributions.Normal(loc, 1.0).log_prob(torch.tensor(x)) - scale**2 / 2
    return float(torch.distributions.kl_divergence(q, p) - likelihood)


def conjugate(x: float = 2.0) -> None:
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    pyro.sample("x", dist.Normal(z, 1.0), obs=torch.tensor(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guide_of", [AutoNormal, AutoNormalMessenger])
def test_automatic_guides_and_messengers(guide_of, kind: str) -> None:
    guide = guide_of(conjugate, init_loc_fn=lambda site: torch.zeros(()), init_scale=0.5)
    elbo = objective(kind)
    losses = torch.tensor([elbo.loss(conjugate, guide) for _ in range(10)])
    assert_mean(losses, normal_loss(0.0, 0.5, 2.0))
    assert torch.isfinite(elbo.differentiable_loss(conjugate, guide))


@pytest.mark.parametrize("particles", [1, 3])
def test_a_vector_is_indexed_and_multiplied_as_written(particles: int) -> None:
    """Under a plate of draws, w[0] would be the first draw and not the first coefficient."""
    design = torch.tensor([[1.0, 2.0], [0.0, 1.0]])

    def model():
        w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("sum", dist.Normal(w[0] + 2 * w[1], 1.0), obs=torch.tensor(1.0))
        with pyro.plate("data", 2):
            pyro.sample("x", dist.Normal(design @ w, 1.0), obs=torch.ones(2))

    def guide():
        pyro.sample("w", dist.Delta(torch.tensor([1.0, -1.0])).to_event(1))

    exact = dist.Normal(torch.tensor([0, 0, 0, 0, 0.0]), 1.0).log_prob(
        torch.tensor([1.0, -1.0, 2.0, 2.0, 2.0])
    )
    loss = ObjectiveELBO(ELBO, particles=particles).loss(model, guide)
    assert loss == pytest.approx(-float(exact.sum()))


def test_regression_by_a_pyro_module() -> None:
    x = torch.randn(20, 3)

    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](3, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
            self.linear.bias = PyroSample(dist.Normal(0.0, 1.0).expand([1]).to_event(1))

        def forward(self, x, y=None):
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("data", len(x)):
                return pyro.sample("y", dist.Normal(mean, 0.1), obs=y)

    model = Regression()
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), ObjectiveELBO(RLOO, particles=2))
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
    losses = [svi.step(x, y=y) for _ in range(60)]
    assert losses[-1] < losses[0] / 5


def test_a_batch_without_a_plate_is_refused_as_pyro_refuses_it() -> None:
    def model():
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=X)

    def guide():
        pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r'site "x", invalid log_prob shape'):
        ObjectiveELBO(ELBO).loss(model, guide)


def test_shapes_that_broadcast_between_model_and_guide_are_refused() -> None:
    def model():
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    def guide():
        pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    with pytest.raises(ValueError, match="shapes disagree at site 'z'"):
        ObjectiveELBO(ELBO).loss(model, guide)


def test_a_guide_may_have_factors_and_deterministic_sites() -> None:
    def guide():
        loc = pyro.deterministic("loc", torch.tensor(1.0))
        pyro.sample("z", dist.Delta(loc))
        pyro.factor("penalty", torch.tensor(0.25), has_rsample=True)

    exact = -dist.Normal(0.0, 1.0).log_prob(torch.ones(2)).sum() + 0.25
    with pytest.warns(UserWarning, match="consider marking these"):
        loss = ObjectiveELBO(ELBO).loss(conjugate, guide)
    assert loss == pytest.approx(float(exact))


def test_keyword_arguments_reach_both_programs() -> None:
    def model(x, *, flag):
        if flag:
            conjugate(x)

    def guide(x, *, flag):
        if flag:
            pyro.sample("z", dist.Delta(torch.tensor(1.0)))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), ObjectiveELBO(NVIL))
    exact = -dist.Normal(0.0, 1.0).log_prob(torch.ones(2)).sum()
    assert svi.step(2.0, flag=True) == pytest.approx(float(exact))  # without parameters, too
    assert svi.step(2.0, flag=False) == 0


@pytest.mark.parametrize(
    ("option", "hint"),
    [("num_particles", "give particles instead"), ("signl", "'signal'"), ("execution", "known")],
)
def test_options_that_it_does_not_have_are_refused(option: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no option '{option}'.*{hint}"):
        ObjectiveELBO(RLOO, **{option: 50})


@pytest.mark.parametrize("body", ["matrix", "index"])
def test_programs_that_do_not_run_side_by_side_are_refused(body: str) -> None:
    def model():
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        mean = torch.eye(3) @ w if body == "matrix" else w[0] + 2 * w[1]
        mean = mean[0] if body == "matrix" else mean
        pyro.sample("x", dist.Normal(mean, 1.0), obs=torch.tensor(1.0))

    def guide():
        pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    elbo = ObjectiveELBO(ELBO, particles=5, vectorize_particles=True)
    with pytest.raises(CompatibilityError, match="omit vectorize_particles"):
        elbo.loss(model, guide)
