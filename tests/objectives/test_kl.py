"""Weights of the KL term and free bits: exact gradients, schedules, and what is refused."""

import copy

import numpy as np
import pytest
import torch

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import CompatibilityError, ConfigError, UsageError
from pyrodgm.guides import DiagonalNormal
from pyrodgm.models import VAE
from pyrodgm.objectives import (
    ELBO,
    NVIL,
    RLOO,
    STL,
    DisARM,
    DoubleCV,
    LocalRLOO,
    MuProp,
    ObjectiveELBO,
)
from pyrodgm.objectives.kl import with_exact_kl
from pyrodgm.setup.config import resolve
from variants import INFOS, VARIANTS, frames, latent_paths, pair, path_log_probs, randomised

COPIES, CALLS = 3000, 40
FUTURE = {"particles": 2, "signal": "future"}
UNBIASED = [
    (ELBO, {}, "sbn"),
    (ELBO, {"kl": "analytic"}, "tsbn"),
    (NVIL, {"signal": "future", "normalise": False}, "tsbn"),
    (RLOO, FUTURE, "sbn"),
    (RLOO, FUTURE, "tsbn"),
    (RLOO, FUTURE | {"execution": "unrolled"}, "tsbn"),
    (LocalRLOO, {"particles": 3}, "tsbn, one frame"),
    (DisARM, FUTURE, "sbn"),
    (DoubleCV, FUTURE, "sbn"),
    (MuProp, {}, "sbn"),
    (MuProp, {}, "tsbn"),
]


def enumerated(model, guide, x):
    """Log-probabilities by site of all paths, and the probability of each path."""
    paths = latent_paths(guide, x.shape[1])
    p, q = (
        {name: nats[:, 0].sum(-1) for name, nats in path_log_probs(f, Batch.of(x), paths).items()}
        for f in (model, guide)
    )
    return p, q, sum(q.values()).exp()


def weighted_bound(p, q, probability, weights):
    """E_q log p(x | z) less the weighted KL term of every site."""
    kl = sum(weights[name] * (q[name] - p[name]) for name in q)
    return (probability * (p["x"] - kl)).sum()


@pytest.mark.parametrize(("kind", "options", "variant"), UNBIASED)
def test_the_gradient_is_that_of_the_weighted_bound(kind, options, variant):
    torch.manual_seed(0)
    name, _, single = variant.partition(", ")
    model, guide = pair(name)
    x = frames("bernoulli", 1, 1 if single else min(2, VARIANTS[name].length))
    p, q, probability = enumerated(model, guide, x)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(weighted_bound(p, q, probability, dict.fromkeys(q, 0.25)), parameters)
    objective = kind(model, guide, kl_weight=0.25, **options).double().eval()
    batch = Batch.of(x.expand(COPIES, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact)


@pytest.mark.parametrize("kind", [STL, ELBO])
def test_paths_have_the_gradient_of_the_weighted_bound_by_quadrature(kind):
    torch.manual_seed(1)
    model = randomised(VAE(INFOS["bernoulli"], latent_dim=1, hidden_dim=4), 0.5)
    guide = randomised(DiagonalNormal(model, hidden_dim=4), 0.5)
    for network in (model.decoder, guide.posteriors["z"]):
        torch.nn.init.constant_(network.first.bias, 4.0)  # away from the kink
    x = frames("bernoulli", 1, 1)
    nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(40))
    noise = {"z": nodes.reshape(-1, 1, 1, 1)}
    values = draw(guide, Batch.of(x), len(nodes), noise=noise).values
    p, q = (
        {name: nats.flatten() for name, nats in score(program, Batch.of(x), values).items()}
        for program in (model, guide)
    )
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(weighted_bound(p, q, mass / mass.sum(), {"z": 0.3}), parameters)
    objective, batch = kind(model, guide, kl_weight=0.3), Batch.of(x.expand(1000, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=60)
    assert_mean(samples, exact)


def test_sites_within_their_free_nats_have_no_kl_term():
    """Two layers, one of whose KL terms is above the threshold and one below."""
    torch.manual_seed(3)
    model, guide = pair("sbn")
    x = frames("bernoulli", 1, 1)
    p, q, probability = enumerated(model, guide, x)
    kl = {name: float((probability * (q[name] - p[name])).sum().detach()) for name in q}
    (low, less), (high, more) = sorted(kl.items(), key=lambda item: item[1])
    assert more - less > 0.3
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(weighted_bound(p, q, probability, {low: 0.0, high: 0.5}), parameters)
    objective = RLOO(model, guide, kl_weight=0.5, free_bits=(less + more) / 2, **FUTURE)
    batch = Batch.of(x.expand(COPIES, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact)


def test_a_schedule_moves_with_every_step_and_reports_are_of_the_bound_itself():
    model, guide = pair("sbn")
    batch = Batch.of(frames("bernoulli", 5, 1))
    plain, annealed = RLOO(model, guide), RLOO(model, guide, kl_weight="linear:0:1:2")
    weights = []
    for _ in range(4):
        torch.manual_seed(3)
        expected = plain(batch)
        torch.manual_seed(3)
        found = annealed(batch)
        weights.append(float(found.report["kl_weight"]))
        bounds = [float(loss.report["elbo_nats_per_frame"]) for loss in (expected, found)]
        assert bounds[0] == bounds[1]
        assert (expected.surrogate == found.surrogate) == (weights[-1] == 1)
    assert weights == [0, 0.5, 1, 1]
    other = copy.deepcopy(plain)
    assert not any("kl_term" in name for name in other.state_dict())  # runs from before load
    assert any("kl_term" in name for name in annealed.state_dict())


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("lineal:0:1:5", "unknown schedule 'lineal'; did you mean 'linear'"),
        ("linear:0:1", "give a number, or kind:start:end:steps, such as linear:0:1:5000"),
        ("linear:0:1:2.5", "kind:start:end:steps"),
        ("linear:0:inf:5", "both must be finite"),
        ("linear:0:1:0", "a schedule has 0 steps; give at least 1"),
        ("exponential:0:1:5", "both must be positive"),
        ("linear:1:-1:5", "must be at least 0, at any step"),
        (-0.5, "must be at least 0"),
        (True, "give a number, or kind"),
        ([0, 1], "give a number, or kind"),
    ],
)
def test_impossible_schedules_are_refused_by_name(option, part):
    values = {"objective": {"name": "rloo", "kl_weight": option}}
    with pytest.raises(ConfigError, match=r"objective\.kl_weight") as caught:
        resolve(values)
    assert part in str(caught.value)
    model, guide = pair("sbn")
    with pytest.raises(ConfigError, match="RLOO: kl_weight"):
        RLOO(model, guide, kl_weight=option)


def test_a_schedule_is_one_text_everywhere():
    values = {"objective": {"name": "rloo", "kl_weight": "cosine:0:1:50", "free_bits": 2}}
    options = resolve(values).objective.options
    assert (options["kl_weight"], options["free_bits"]) == ("cosine:0:1:50", 2.0)
    assert 'kl_weight = "cosine:0:1:50"' in resolve(values).to_toml()


def test_objectives_without_a_kl_term_name_those_that_have_one():
    values = {"objective": {"name": "vimco", "kl_weight": 0.5}}
    with pytest.raises(ConfigError, match=r"objective\.kl_weight: no such option") as caught:
        resolve(values)
    assert "it is an option of" in str(caught.value)
    assert "rloo" in str(caught.value)
    with pytest.raises(UsageError, match=r"weigh a site by pyro\.poutine.scale"):
        ObjectiveELBO(RLOO, kl_weight=0.5)


def test_the_analytic_term_is_refused_where_it_would_be_another_bound():
    model, guide = pair("deep hmsbn")
    with pytest.raises(CompatibilityError, match="draws 2 sites"):
        ELBO(model, guide, kl="analytic")
    model, guide = pair("tsbn")
    with pytest.raises(UsageError, match="execution 'unrolled'"):
        ELBO(model, guide, kl="analytic", execution="unrolled")


def test_the_analytic_term_has_less_variance():
    torch.manual_seed(7)
    model = VAE(INFOS["bernoulli"], latent_dim=2, hidden_dim=4)
    guide = randomised(DiagonalNormal(randomised(model, 0.3), hidden_dim=4), 0.3)
    batch = Batch.of(frames("bernoulli", 1, 1).expand(20_000, -1, -1))
    with torch.no_grad():
        found = ELBO(model, guide).trace(batch)
        sampled, analytic = (each.log_w.sum(-1).flatten() for each in (found, with_exact_kl(found)))
    assert_mean((sampled - analytic)[:, None] + 1, 1.0)
    assert analytic.std() < 0.8 * sampled.std()
