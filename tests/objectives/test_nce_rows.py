"""Noise-contrastive estimation of rows: exact gradients of every kind, and normalisers learned."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from models.test_random_field import BITS, DICE, REAL, field, nats, rows
from torch import Tensor, nn

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.guides.observations import Marginals
from pyrodgm.models import RBM, EnergyModel, ModelTraits
from pyrodgm.objectives import NCE

NU = 3
ONE = replace(REAL, dim=1, mean=(3.0,), std=(2.0,), centre=(3.0,))


class Parabola(EnergyModel):
    """The potential b x - exp(l) x^2 / 2 of a normal distribution, whose log Z is known."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info):
        super().__init__(info)
        self.slope, self.log_scale = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def potential(self, x, batch):
        return (self.slope * x - self.log_scale.exp() * x.square() / 2).squeeze(-1)

    def log_normaliser(self):
        precision = self.log_scale.exp()
        return (math.log(2 * math.pi) - precision.log() + self.slope.square() / precision) / 2


def machine(info):
    torch.manual_seed(2)
    return RBM(info, hidden_dim=3, init_scale=1.0)


def points_of(info: DataInfo) -> tuple[Tensor, float]:
    """Rows over which integrals are sums, (S, D), and the volume of each."""
    if info.kind != "real":
        return rows(info), 1.0
    return torch.linspace(-16, 16, 3201)[:, None], 0.01


def value(objective: NCE, of_data: Tensor, states: Tensor, volume: float) -> Tensor:
    """J by sums, for data with probabilities (S,) over states (S, D)."""
    batch = Batch.of(states[:, None])
    log_q = objective.noise.log_prob(batch.x, batch)[:, 0]
    p = objective.field.potential(batch.x, batch)[:, 0] - objective.log_z(batch)[:, 0]
    of_noise = volume * log_q.exp() * F.logsigmoid(log_q + math.log(NU) - p)
    return (of_data * F.logsigmoid(p - log_q - math.log(NU))).sum() + NU * of_noise.sum()


@pytest.mark.parametrize(
    ("info", "make"),
    [(BITS, machine), (BITS, field), (DICE, field), (ONE, lambda info: field(info, 2.0))],
    ids=["rbm", "bits", "symbols", "real"],
)
def test_the_mean_gradient_is_that_of_the_objective(info, make):
    model = make(info)
    objective = NCE(model, Marginals(model, scale=1.3), noise_per_datum=NU)
    with torch.no_grad():
        objective.log_z.level.fill_(0.3)
    states, volume = points_of(info)
    chosen = torch.arange(len(states))[:: max(1, len(states) // 5)][:5]
    of_data = torch.zeros(len(states)).index_fill(0, chosen, 1 / len(chosen))
    parameters = [p for p in (*model.parameters(), objective.log_z.level) if p.dim() != 1]
    batch = Batch.of(states[chosen.repeat(100)][:, None])
    exact = gradient(value(objective, of_data, states, volume), parameters)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, 60)
    assert_mean(samples, exact, power=0.2)


@pytest.mark.parametrize(("info", "make"), [(BITS, machine), (DICE, field)], ids=["rbm", "symbols"])
def test_j_is_the_variational_value_of_an_f_divergence(info, make):
    """Equations 53 and 54 of the review, with f(u) = u log u - (u + nu) log(u + nu)."""
    model = make(info)
    objective = NCE(model, Marginals(model), noise_per_datum=NU)
    with torch.no_grad():
        objective.log_z.level.copy_(model.log_normaliser() - 0.4)
        states, _ = points_of(info)
        batch = Batch.of(states[:, None])
        log_q = objective.noise.log_prob(batch.x, batch)[:, 0]
        log_p = nats(model, states) - objective.log_z.level
        data = torch.rand(len(states)).softmax(0)
        t = log_p - torch.logaddexp(log_p, log_q + math.log(NU))  # f'(p / q)
        conjugate = NU * math.log(NU) - NU * (-t.expm1()).log()
        bound = (data * t).sum() - (log_q.exp() * conjugate).sum()
        found = value(objective, data, states, 1.0)
        torch.testing.assert_close(found - NU * math.log(NU), bound)
        u = data / log_q.exp()
        divergence = log_q.exp() @ (torch.xlogy(u, u) - (u + NU) * (u + NU).log())
        assert bound < divergence


def fitted(objective: NCE, x: Tensor) -> None:
    """Maximise J over data (N, D), with the same draws of noise in every evaluation."""
    parameters = [*objective.model.parameters(), *objective.log_z.parameters()]
    optimiser = torch.optim.LBFGS(parameters, max_iter=60, line_search_fn="strong_wolfe")
    batch = Batch.of(x[:, None])

    def loss():
        torch.manual_seed(5)
        optimiser.zero_grad()
        surrogate = objective(batch).surrogate
        surrogate.backward()
        return surrogate

    optimiser.step(loss)


def test_the_log_normaliser_of_a_normal_distribution_is_learned():
    torch.manual_seed(0)
    x = 1.0 + 0.5 * torch.randn(20_000, 1)
    info = DataInfo("normal", "real", 1, (1.0,), 1.0, 1, std=(0.5,))
    model = Parabola(info)
    objective = NCE(model, Marginals(model, scale=1.5), noise_per_datum=10)
    fitted(objective, x)
    true = float(model.log_normaliser().detach())
    assert true == pytest.approx(0.5 * math.log(2 * math.pi * 0.25) + 2.0, rel=0.05)
    assert float(objective.log_z.level.detach()) == pytest.approx(true, rel=0.01)


def test_the_log_normaliser_of_a_restricted_boltzmann_machine_is_learned():
    torch.manual_seed(0)
    truth = machine(BITS)
    with torch.no_grad():
        p = nats(truth, rows(BITS)).softmax(0)
    x = rows(BITS)[p.multinomial(20_000, replacement=True)]
    info = replace(BITS, mean=tuple(x.mean(0).tolist()))
    model = machine(info)
    objective = NCE(model, Marginals(model), noise_per_datum=10)
    fitted(objective, x)
    with torch.no_grad():
        log_z, learned = float(model.log_normaliser()), float(objective.log_z.level)
        found = nats(model, rows(BITS)).softmax(0)
    assert learned == pytest.approx(log_z, rel=0.01)
    assert abs(log_z) > 1  # so that one per cent is not nothing
    assert float((p * (p / found).log()).sum()) < 2e-3


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_the_log_normaliser_of_a_machine_starts_at_that_without_weights(kind):
    info = {"binary": BITS, "real": REAL}[kind]
    model = RBM(info, hidden_dim=5, init_scale=0.0)
    start = NCE(model, Marginals(model)).log_z.level
    torch.testing.assert_close(start.double(), model.log_normaliser().double(), atol=1e-5, rtol=0)
