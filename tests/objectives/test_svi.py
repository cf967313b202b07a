"""Our objectives on plain Pyro programs, and Pyro's on ours."""

from __future__ import annotations

import math
from typing import Any, cast

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import nn

from oracles import Enumerated, assert_mean, gradient
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.programs import unrolled
from pyrodgm.engine.stepwise import stepwise_terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import ELBO, ML, NVIL, RLOO, LocalRLOO, ObjectiveELBO, TraceGraphELBO
from variants import INFOS, frames

T, D, J, COPIES = 3, 3, 2, 1000
INFO = DataInfo("tiny", "binary", D, (0.5,) * D, float(T), T)


@pytest.fixture(autouse=True)
def _own_param_store():
    with pyro.get_param_store().scope():
        yield


def plain_programs(model: nn.Module, guide: nn.Module):
    """The TSBN pair written by hand as a Pyro user would, sharing the modules' weights."""

    def p(x):
        z, past = x.new_zeros(len(x), J), x.new_zeros(len(x), D)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(T)):
                first = min(t, 1)
                logits = (
                    model.layers[0].own(z)
                    + model.layers[0].past(past)
                    + model.layers[0].bias.bias[first]
                )
                z = pyro.sample(f"h{t}", dist.Bernoulli(logits=logits).to_event(1))
                logits = model.x_from_z(z) + model.x_from_x(past) + model.x_bias.bias[first]
                past = pyro.sample(f"v{t}", dist.Bernoulli(logits=logits).to_event(1), obs=x[:, t])

    def q(x):
        z, past = x.new_zeros(len(x), J), x.new_zeros(len(x), D)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(T)):
                logits = (
                    guide.layers[0].now(x[:, t])
                    + guide.layers[0].past(past)
                    + guide.layers[0].own(z)
                )
                logits = logits + guide.layers[0].bias.bias[min(t, 1)]
                z = pyro.sample(f"h{t}", dist.Bernoulli(logits=logits).to_event(1))
                past = x[:, t]

    return p, q


def pair():
    model = TSBN(INFO, hidden_dim=J).double()
    guide = RecurrentBernoulli(model).double()
    for module in (model, guide):
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.8)
    return model, guide


@pytest.mark.parametrize(
    "elbo",
    [
        ObjectiveELBO(NVIL, signal="future", normalise=False),
        ObjectiveELBO(RLOO, signal="future", particles=2),
        ObjectiveELBO(ELBO),
        Trace_ELBO(),
        TraceGraph_ELBO(),
    ],
    ids=["nvil", "rloo", "elbo", "Trace_ELBO", "TraceGraph_ELBO"],
)
def test_gradients_on_a_plain_program_equal_enumeration(elbo) -> None:
    model, guide = pair()
    x = torch.rand(T, D, dtype=torch.float64).round()
    p, q = plain_programs(model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = -gradient(Enumerated(model, guide, x).elbo(), parameters)
    data = x.expand(COPIES, T, D)
    samples = []
    for _ in range(24):
        for parameter in parameters:
            parameter.grad = None
        if isinstance(elbo, TraceGraph_ELBO):  # it has no differentiable_loss to ask for
            elbo._loss_and_surrogate_loss(p, q, (data,), {})[1].backward()
        else:
            elbo.differentiable_loss(p, q, data).backward()
        samples.append(torch.cat([w.grad.flatten() for w in parameters]) / COPIES)
    assert_mean(torch.stack(samples), exact)


def test_frames_of_a_plain_program_are_found_by_program_order() -> None:
    model, guide = pair()
    p, q = plain_programs(model, guide)
    traced = stepwise_terms(p, q, torch.ones(4, T, D, dtype=torch.float64), particles=5)
    assert traced.log_p.shape == traced.log_q.shape == (5, 4, T)
    assert traced.x.shape == (4, T, D)
    assert traced.mask.all()


def test_a_guide_that_runs_backwards_is_taken_as_one_frame() -> None:
    """A later frame's proposal depends on an earlier one here, so order must not cut it off."""

    def p(x):
        with pyro.plate("data", len(x)):
            for t in range(2):
                pyro.sample(f"z{t}", dist.Bernoulli(0.3))
                pyro.sample(f"x{t}", dist.Normal(0.0, 1.0), obs=x[:, t])

    def q(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Bernoulli(0.6))
            pyro.sample("z0", dist.Bernoulli(0.2 + 0.5 * z1))

    assert stepwise_terms(p, q, torch.zeros(3, 2)).log_p.shape == (1, 3, 1)


def test_svi_trains_the_baseline_too() -> None:
    x = (torch.rand(16, T, D) > 0.9).float()
    model = TSBN(INFO, hidden_dim=J)
    guide = RecurrentBernoulli(model)
    plain_p, plain_q = plain_programs(model, guide)

    def p(x):
        pyro.module("model", model)
        plain_p(x)

    def q(x):
        pyro.module("guide", guide)
        plain_q(x)

    elbo = ObjectiveELBO(NVIL, signal="local")
    svi = SVI(p, q, pyro.optim.Adam({"lr": 0.05}), elbo)
    first = svi.evaluate_loss(x)
    before = None
    for _ in range(60):
        svi.step(x)
        weights = elbo.objective.baseline[2].weight.detach().clone()
        before = weights if before is None else before
    assert not torch.equal(before, weights)
    assert svi.evaluate_loss(x) < first - 20


def test_our_programs_run_under_pyro_with_vectorised_particles() -> None:
    model, guide = pair()
    x = torch.rand(T, D, dtype=torch.float64).round()
    exact = float(Enumerated(model, guide, x).elbo().detach())
    batch = Batch.of(x[None])
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=2)
    fused_estimates = torch.tensor([-elbo.loss(model, guide, batch) for _ in range(8)])
    elbo = Trace_ELBO(num_particles=4000, vectorize_particles=True, max_plate_nesting=1)
    programs = unrolled(model), unrolled(guide)
    single_estimates = torch.tensor([-elbo.loss(*programs, batch) for _ in range(8)])
    assert_mean(fused_estimates.double(), exact)
    assert_mean(single_estimates.double(), exact)


class SubsampledPair(nn.Module):
    """One bit for each of 40 numbers, of which a step sees 24."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.lam = nn.Parameter(torch.tensor(-0.4, dtype=torch.float64))
        self.x = torch.linspace(-2, 3, 40, dtype=torch.float64)

    def model(self) -> None:
        with pyro.plate("data", 40, subsample_size=24) as rows:
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.3, dtype=torch.float64)))
            pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=self.x[rows])

    def guide(self) -> None:
        with pyro.plate("data", 40, subsample_size=24) as rows:
            pyro.sample("z", dist.Bernoulli(logits=self.lam * self.x[rows]))

    def loss(self) -> torch.Tensor:
        """Minus the bound of all the data, both values of every bit summed over."""
        q = torch.sigmoid(self.lam * self.x)
        total = torch.zeros((), dtype=torch.float64)
        for z, prior, chance in ((1.0, 0.3, q), (0.0, 0.7, 1 - q)):
            likelihood = dist.Normal(self.w * z, 1.0).log_prob(self.x)
            total = total + (chance * (math.log(prior) + likelihood - chance.log())).sum()
        return -total


@pytest.mark.parametrize("kind", [ELBO, RLOO, NVIL])
def test_a_subsampled_plate_counts_once(kind) -> None:
    pair = SubsampledPair()
    exact = torch.stack(torch.autograd.grad(pair.loss(), list(pair.parameters())))
    own = {"normalise": False, "baseline_dim": 0} if kind is NVIL else {}
    elbo = ObjectiveELBO(kind, particles=100, vectorize_particles=True, **own)
    found = []
    for _ in range(320):
        loss = elbo.differentiable_loss(pair.model, pair.guide)
        found.append(torch.stack(torch.autograd.grad(loss, list(pair.parameters()))))
    assert_mean(torch.stack(found), exact)


def test_every_objective_of_a_store_trains_its_own_baseline() -> None:
    p, q = plain_programs(*pair())
    x = torch.rand(8, T, D, dtype=torch.float64).round()
    for name in ("one", "two"):
        elbo = ObjectiveELBO(NVIL, name=name)
        svi = SVI(p, q, pyro.optim.Adam({"lr": 0.05}), elbo)
        svi.step(x)
        before = elbo.objective.baseline[2].bias.detach().clone()
        svi.step(x)
        assert not torch.equal(before, elbo.objective.baseline[2].bias)


def test_an_objective_draws_as_often_as_it_does_elsewhere() -> None:
    p, q = plain_programs(*pair())
    x = torch.rand(8, T, D, dtype=torch.float64).round()
    assert ObjectiveELBO(RLOO).num_particles == 4
    assert math.isfinite(ObjectiveELBO(RLOO).loss_and_grads(p, q, x))
    with pytest.raises(UsageError, match="RLOO: particles = 1"):
        ObjectiveELBO(RLOO, particles=1).loss_and_grads(p, q, x)


def test_an_objective_with_draws_of_its_own_is_refused() -> None:
    with pytest.raises(UsageError, match="LocalRLOO needs draws that only"):
        ObjectiveELBO(LocalRLOO)


def test_an_objective_that_is_no_function_of_draws_is_refused() -> None:
    with pytest.raises(UsageError, match="not a function of log-probabilities"):
        ObjectiveELBO(TraceGraphELBO)
    with pytest.raises(UsageError, match="takes the class of an objective, and 'nvil' is given"):
        ObjectiveELBO(cast("Any", "nvil"))


def test_latent_sites_are_refused_where_there_should_be_none() -> None:
    def p(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Bernoulli(0.3)), 1.0), obs=x[:, 0])

    def q(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5))

    with pytest.raises(UsageError, match=r"ML is for programs without latent .* draws z"):
        ObjectiveELBO(ML).loss(p, q, torch.zeros(3, 2))


def test_a_second_plate_is_refused_with_the_site() -> None:
    def p(x):
        with pyro.plate("data", len(x)), pyro.plate("notes", 2, dim=-2):
            pyro.sample("z", dist.Bernoulli(0.5))

    def q(x):
        with pyro.plate("data", len(x)), pyro.plate("notes", 2, dim=-2):
            pyro.sample("z", dist.Bernoulli(0.5))

    with pytest.raises(CompatibilityError, match="at most one plate"):
        stepwise_terms(p, q, torch.zeros(3, 2))


def test_a_baseline_of_different_observations_is_a_constant() -> None:
    def p(x):
        for t in range(2):
            pyro.sample(f"z{t}", dist.Bernoulli(0.5))
            pyro.sample(f"x{t}", dist.Normal(0.0, 1.0).expand([t + 1]).to_event(1), obs=x[: t + 1])

    def q(x):
        for t in range(2):
            pyro.sample(f"z{t}", dist.Bernoulli(0.4))

    elbo = ObjectiveELBO(NVIL)
    assert math.isfinite(elbo.loss_and_grads(p, q, torch.zeros(2)))
    assert elbo.objective.baseline[0].in_features == 1


def test_our_own_pair_is_trained_by_svi() -> None:
    torch.manual_seed(0)
    model, guide = pair()
    before = [w.detach().clone() for m in (model, guide) for w in m.parameters()]
    batch = Batch.of(torch.rand(4, T, D, dtype=torch.float64).round())
    SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), ObjectiveELBO(RLOO)).step(batch)
    after = [w for m in (model, guide) for w in m.parameters()]
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_baseline_of_pyro_sees_symbols_as_networks_do() -> None:
    model = TSBN(INFOS["categorical"], hidden_dim=J)
    objective = TraceGraphELBO(model, RecurrentBernoulli(model)).double()
    batch = Batch.of(frames("categorical", 1, 2))
    assert objective(batch).surrogate.isfinite()
