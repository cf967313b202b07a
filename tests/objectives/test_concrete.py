"""Relaxed bits: gradients against quadrature over the noise, low temperatures, and schedules."""

import math

import pytest
import torch

import oracles
from oracles import (
    Enumerated,
    assert_mean,
    bernoulli,
    gradient,
    layered_log_p,
    layered_log_q,
    recognition_logits,
    sample_gradients,
)
from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, ConcreteBits
from pyrodgm.errors import ConfigError, UsageError
from pyrodgm.guides import LayeredBernoulli, RecurrentBernoulli
from pyrodgm.models import SBN, TSBN
from pyrodgm.objectives import Concrete
from pyrodgm.setup.config import resolve
from variants import INFOS, frames, pair, randomised

TEMPERATURE = 0.6
COPIES, CALLS = 1000, 24
STEP, END = 0.25, 16.0  # the published density overflows further out
NETWORKS = {
    "one bit": (SBN, LayeredBernoulli, 1, 1),
    "two bits": (SBN, LayeredBernoulli, 2, 1),
    "two layers": (SBN, LayeredBernoulli, (1, 1), 1),
    "two frames": (TSBN, RecurrentBernoulli, 1, 2),
}


def example(network, std=0.8):
    model_class, guide_class, size, length = NETWORKS[network]
    model = model_class(INFOS["bernoulli"], hidden_dim=size)
    guide = guide_class(model)
    return randomised(model, std), randomised(guide, std), frames("bernoulli", length)


def logistic_density(noise):
    return noise.sigmoid() * (-noise).sigmoid()


def nodes(step=STEP):
    """The trapezoidal rule over standard logistic noise: its nodes and their weights."""
    noise = torch.arange(-END, END + step, step).double()
    return noise, step * logistic_density(noise)


def concrete_density(temperature):
    """log p(z) of binary concrete variables, as published, summed over the last dimension."""

    def score(logits, z):
        alpha, t = logits.exp(), temperature
        below = (alpha * z**-t + (1 - z) ** -t) ** 2
        return torch.log(t * alpha * z ** (-t - 1) * (1 - z) ** (-t - 1) / below).sum(-1)

    return score


def relaxed_paths(guide, x, noise):
    """Relaxed bits (S, T, J) by site, one after the other, from noise (S, T J of all sites)."""
    paths = {name: noise.new_zeros(len(noise), 0, site.dim) for name, site in guide.latents.items()}
    for t in range(len(x)):
        below = x
        for layer, (name, site) in zip(guide.layers, guide.latents.items(), strict=True):
            logits = recognition_logits(layer, below, paths[name], t, guide.history)
            own, noise = noise[:, : site.dim], noise[:, site.dim :]
            bits = torch.sigmoid((logits - own) / TEMPERATURE)
            below = paths[name] = torch.cat([paths[name], bits[:, None]], 1)
    return paths


@pytest.mark.parametrize("density", ["relaxed", "discrete"])
@pytest.mark.parametrize("network", NETWORKS)
def test_mean_gradient_is_that_of_a_quadrature_over_the_noise(network, density, monkeypatch):
    torch.manual_seed(0)
    model, guide, x = example(network)
    noise, weight = nodes()
    if network != "one bit":
        noise, weight = torch.cartesian_prod(noise, noise), torch.outer(weight, weight).flatten()
    paths = relaxed_paths(guide, x, noise.reshape(len(weight), -1))
    with monkeypatch.context() as patched:
        score = concrete_density(TEMPERATURE) if density == "relaxed" else bernoulli
        patched.setattr(oracles, "bernoulli", score)  # of latents; data keep their own
        log_w = (layered_log_p(model, x, paths) - layered_log_q(guide, x, paths)).sum(-1)
    bound = (weight * log_w).sum()
    parameters = [*model.parameters(), *guide.parameters()]
    padded = torch.cat([x, torch.full_like(x[:1], 0.5)]).expand(COPIES, -1, -1)
    mask = (torch.arange(len(x) + 1) < len(x)).expand(COPIES, -1)
    batch = Batch(padded, mask, torch.arange(COPIES))
    objective = Concrete(model, guide, temperature=TEMPERATURE, density=density)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, gradient(bound, parameters))


def bound_of_one_bit(model, guide, x, monkeypatch, **options):
    """L by quadrature, from the terms of the objective itself."""
    noise, weight = nodes(step=2e-4)
    monkeypatch.setattr(ConcreteBits, "noise", lambda _, shape: noise.reshape(shape))
    objective = Concrete(model, guide, particles=len(noise), **options)
    with torch.no_grad():
        return float((weight * objective.trace(Batch.of(x[None])).log_w[:, 0, 0]).sum())


def test_at_low_temperatures_each_density_has_its_limit(monkeypatch):
    """That of the bits is the bound itself; the relaxed one is lower by the noise's own KL term."""
    torch.manual_seed(3)
    model, guide, x = example("one bit")
    with torch.no_grad():
        l_q = recognition_logits(guide.layers[0], x, x.new_zeros(1, 0, 1), 0, guide.history)[0]
        l_p = l_q - 3
        model.layers[0].bias.bias[0] = l_p
        elbo = float(Enumerated(model, guide, x).elbo())
        noise, weight = nodes(step=1e-3)
        shifted = logistic_density(l_p - l_q + noise)
        of_logistic = float((weight * (logistic_density(noise) / shifted).log()).sum())
        bits = torch.tensor([[0.0], [1.0]]).double()
        log_q, log_p = bernoulli(l_q, bits), bernoulli(l_p, bits)
        gap = of_logistic - float((log_q.exp() * (log_q - log_p)).sum())
    assert gap > 0.05
    for density, limit in (("discrete", elbo), ("relaxed", elbo - gap)):
        errors = [
            bound_of_one_bit(model, guide, x, monkeypatch, temperature=t, density=density) - limit
            for t in (0.02, 0.01, 0.005)
        ]
        assert abs(errors[-1]) < 0.01
        ratios = [errors[0] / errors[1], errors[1] / errors[2]]
        assert ratios == pytest.approx([2, 2], rel=0.08)  # of the order of the temperature


def test_hard_bits_have_the_evidence_lower_bound():
    torch.manual_seed(4)
    model, guide, x = example("two layers")
    exact = float(Enumerated(model, guide, x).elbo().detach())
    objective = Concrete(model, guide, particles=20_000, hard=True)
    found = objective.trace(Batch.of(x[None])).log_w.detach().flatten()
    assert_mean(found, exact)


def test_the_temperature_counts_steps_of_training():
    model, guide = pair("sbn")
    batch = Batch.of(frames("bernoulli", 5, 1))
    objective = Concrete(model, guide, temperature="linear:1:0.5:2")
    assert float(objective.eval()(batch).report["temperature"]) == 1
    objective.train()
    assert [float(objective(batch).report["temperature"]) for _ in range(4)] == [1, 0.75, 0.5, 0.5]
    assert "temperature" not in Concrete(model, guide)(batch).report


@pytest.mark.parametrize("temperature", [0, -1.0, "linear:1:0:5", "linear:-1:1:5"])
def test_temperatures_that_are_not_positive_are_refused(temperature):
    with pytest.raises(ConfigError, match=r"objective\.temperature = .*must be positive"):
        resolve({"objective": {"name": "concrete", "temperature": temperature}})
    with pytest.raises(ConfigError, match="Concrete: temperature"):
        Concrete(*pair("sbn"), temperature=temperature)


def test_hard_bits_have_no_relaxed_density():
    with pytest.raises(UsageError, match="bits have no relaxed density"):
        Concrete(*pair("sbn"), hard=True, density="relaxed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_finite(dtype, monkeypatch):
    monkeypatch.setattr(torch, "rand", torch.zeros)
    noise = ConcreteBits(BernoulliVector(torch.zeros(2, dtype=dtype)), 0.5).noise(torch.Size([2]))
    expected = math.log(torch.finfo(dtype).eps / 4)
    assert noise.tolist() == pytest.approx([expected] * 2)
