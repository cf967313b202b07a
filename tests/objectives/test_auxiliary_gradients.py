"""Mean gradients with auxiliary variables, against quadrature over them and sums over bits."""

import math

import numpy as np
import pytest
import torch
from rows import bernoulli, network

from oracles import all_paths, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.guides import Auxiliary
from pyrodgm.models import VAE
from pyrodgm.objectives import (
    ELBO,
    IWAE,
    JSA,
    NVIL,
    RLOO,
    RWS,
    STL,
    RenyiELBO,
    TraceELBO,
    WakeSleep,
)
from variants import INFOS, D, frames, randomised

COPIES, CALLS, NODES = 1500, 40, 24
LOG_TWO_PI = math.log(2 * math.pi)


def normal(numbers, value):
    """Log-density of normal numbers from a network's output, as its family has them."""
    mean, raw = numbers.chunk(2, -1)
    scale = torch.nn.functional.softplus(raw) + 1e-3
    return (-0.5 * ((value - mean) / scale) ** 2 - scale.log() - 0.5 * LOG_TWO_PI).sum(-1)


def from_noise(numbers, noise):
    mean, raw = numbers.chunk(2, -1)
    return mean + (torch.nn.functional.softplus(raw) + 1e-3) * noise


class Exact:
    """A pair with one auxiliary number on a row x (D,), over nodes of its noise and all latents.

    Bits are enumerated; a normal latent has nodes of noise of its own.

    Attributes:
        mass: probability of every pair of a and z under the guide, (S,).
        log_p, log_r, log_q: of them, (S,); with path gradients, or of fixed values.
    """

    def __init__(self, model, guide, x, *, fixed=False):
        self.pair = model, guide
        nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
        mass = mass / mass.sum()
        start = network(guide.start, x)
        a = from_noise(start, nodes[:, None])
        a = a.detach() if fixed else a
        numbers = network(guide.posteriors["z"], torch.cat([x.expand(NODES, -1), a], -1))
        if model.latents["z"].kind == "binary":
            z = all_paths(1, 2)[:, 0].expand(NODES, -1, -1)
            log_z = bernoulli(numbers[:, None], z)
            self.mass = (mass[:, None] * log_z.exp()).flatten()
        else:
            z = from_noise(numbers[:, None], nodes[:, None])
            z = z.detach() if fixed else z
            log_z = normal(numbers[:, None], z)
            self.mass = torch.outer(mass, mass).flatten()
        self.mass = self.mass.detach() if fixed else self.mass
        a = a[:, None].expand(-1, z.shape[1], -1)
        self.log_q = (normal(start, a) + log_z).flatten()
        self.log_p = self.joint(x, z).flatten()
        self.log_r = self.reverse(x, z, a).flatten()
        self.log_w = self.log_p + self.log_r - self.log_q

    def joint(self, x, z):
        model = self.pair[0]
        if model.latents["z"].kind == "binary":
            prior = bernoulli(model.prior["z"], z)
        else:
            prior = (-0.5 * z.square() - 0.5 * LOG_TWO_PI).sum(-1)
        return prior + bernoulli(network(model.decoder, z), x)

    def reverse(self, x, z, a):
        posterior = self.pair[1].reverse.posterior
        return normal(network(posterior, torch.cat([z, x.expand(*z.shape[:-1], -1)], -1)), a)


def pair(latents):
    given = {"bernoulli": {"latents": "bernoulli", "latent_dim": 2, "prior": "learned"}}
    model = VAE(INFOS["bernoulli"], hidden_dim=4, **given.get(latents, {"latent_dim": 1}))
    guide = Auxiliary(model, auxiliary_dim=1, hidden_dim=4)
    randomised(model, 0.4), randomised(guide, 0.4)
    for each in (model.decoder, guide.start, guide.reverse.posterior, *guide.posteriors.values()):
        torch.nn.init.constant_(each.first.bias, 4.0)  # networks are smooth where draws are
    return model, guide


def elbo(model, guide, x):
    exact = Exact(model, guide, x)
    return (exact.mass * exact.log_w).sum()


def both(exact):
    """The log of the mean of two weights, of all pairs of draws, and their probabilities."""
    mean = torch.logaddexp(exact.log_w[:, None], exact.log_w) - math.log(2)
    return mean, exact.mass[:, None] * exact.mass


def iwae(model, guide, x):
    mean, probability = both(Exact(model, guide, x))
    return (probability * mean).sum()


def renyi(model, guide, x):
    exact = Exact(model, guide, x)
    exact.log_w = 0.5 * exact.log_w
    mean, probability = both(exact)
    return (probability * mean).sum() / 0.5


def weighted(model, guide, x):
    """E of two draws' self-normalised weights times log p + log r + log q, at fixed draws."""
    exact = Exact(model, guide, x, fixed=True)
    share = (exact.log_w[:, None] - exact.log_w).sigmoid().detach()
    probability = 2 * exact.mass[:, None] * exact.mass * share
    return (probability * (exact.log_p + exact.log_r + exact.log_q)[:, None]).sum()


def asleep(model, guide, x):
    """The wake phase of p and r, and the sleep phase on all rows x of bits."""
    exact = Exact(model, guide, x, fixed=True)
    total = (exact.mass * (exact.log_p + exact.log_r)).sum()
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    z = all_paths(1, 2)[:, 0]
    for dream in all_paths(1, D)[:, 0]:
        p = exact.joint(dream, z).exp().detach()
        read = torch.cat([z, dream.expand(len(z), -1)], -1)
        a = from_noise(network(guide.reverse.posterior, read)[:, None], nodes[:, None]).detach()
        seen = torch.cat([dream.expand(*a.shape[:-1], -1), a], -1)
        log_z = bernoulli(network(guide.posteriors["z"], seen), z[:, None])
        log_q = normal(network(guide.start, dream), a) + log_z
        total = total + (p[:, None] * mass / mass.sum() * log_q).sum()
    return total


def fixed_baseline(model, guide):
    objective = NVIL(model, guide, signal="future", normalise=False).double().eval()
    objective.mean.value = torch.tensor(-1.3).double()
    return objective


TARGETS = {
    "elbo": ("both", ELBO, elbo),
    "trace-elbo": ("both", TraceELBO, elbo),
    "rloo": ("bernoulli", lambda p, q: RLOO(p, q, particles=3, signal="future"), elbo),
    "nvil": ("bernoulli", fixed_baseline, elbo),
    "rws": ("both", lambda p, q: RWS(p, q, particles=2), weighted),
    "rws of paths": ("bernoulli", lambda p, q: RWS(p, q, particles=2, weights="paths"), weighted),
    "wake-sleep": ("bernoulli", WakeSleep, asleep),
    "stl": ("gaussian", STL, elbo),
    "iwae": ("gaussian", lambda p, q: IWAE(p, q, particles=2), iwae),
    "iwae plain": ("gaussian", lambda p, q: IWAE(p, q, particles=2, gradient="plain"), iwae),
    "renyi": ("gaussian", lambda p, q: RenyiELBO(p, q, particles=2, alpha=0.5), renyi),
}
CASES = [
    (name, latents)
    for name, (of, *_) in TARGETS.items()
    for latents in ("bernoulli", "gaussian")
    if of in ("both", latents)
]


@pytest.mark.parametrize(("name", "latents"), CASES)
def test_mean_gradient_is_that_of_the_target_on_the_extended_model(name, latents):
    torch.manual_seed(0)
    model, guide = pair(latents)
    x = frames("bernoulli")
    _, build, target = TARGETS[name]
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(target(model, guide, x), parameters)
    objective, batch = build(model, guide), Batch.of(x.expand(COPIES, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact, power=0.1)


def test_chains_of_jsa_keep_the_extended_posterior_and_have_its_gradient():
    torch.manual_seed(1)
    model, guide = pair("bernoulli")
    x, copies = frames("bernoulli"), 2000
    z = all_paths(1, 2)[:, 0]
    exact = Exact(model, guide, x)
    log_p = exact.joint(x, z)
    posterior = log_p.softmax(0).detach()
    read = torch.cat([z, x.expand(len(z), -1)], -1)
    numbers = network(guide.reverse.posterior, read).detach()
    objective = JSA(model, guide, particles=3).double()
    objective.begin(Sequences(x.repeat(copies, 1).numpy(), torch.ones(copies).long().numpy()))
    batch = Batch.of(x.expand(copies, 1, -1))

    def loss():
        index = torch.multinomial(posterior, copies, replacement=True)
        a = from_noise(numbers[index], torch.randn(copies, 1).double())
        objective.cache.write(batch, torch.cat([a, z[index]], -1)[:, None])
        return -objective(batch).surrogate

    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(NODES))
    a = from_noise(numbers[:, None], nodes[:, None])
    seen = torch.cat([x.expand(*a.shape[:-1], -1), a], -1)
    log_z = bernoulli(network(guide.posteriors["z"], seen), z[:, None])
    log_q = normal(network(guide.start, x), a) + log_z
    target = log_p.logsumexp(0) + (posterior[:, None] * mass / mass.sum() * log_q).sum()
    parameters = [*model.parameters(), *guide.parameters()]
    samples = sample_gradients(loss, parameters, calls=CALLS)
    assert_mean(samples, gradient(target, parameters), power=0.1)
    states = objective.cache.read(batch)[:, 0]
    same = (states[:, None, 1:] == z).all(-1)
    assert_mean(same.double(), posterior, power=0.2)
