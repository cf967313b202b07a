"""Bounds and mean gradients on rows above bits and classes, against sums over all latents."""

import pytest
import torch
from rows import EnumeratedRow, rows_pair

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.objectives import (
    ELBO,
    JSA,
    NVIL,
    RLOO,
    RWS,
    VIMCO,
    TraceELBO,
    WakeSleep,
)
from variants import frames

COPIES, CALLS = 1500, 24


def with_fixed_baseline(model, guide):
    """The mean gradient must not depend on the baseline."""
    objective = NVIL(model, guide, signal="future", normalise=False).double().eval()
    objective.mean.value = torch.tensor(-1.3).double()
    return objective


TARGETS = {
    "elbo": (ELBO, EnumeratedRow.elbo),
    "nvil": (with_fixed_baseline, EnumeratedRow.elbo),
    "rloo": (lambda p, q: RLOO(p, q, particles=3, signal="future"), EnumeratedRow.elbo),
    "trace-elbo": (TraceELBO, EnumeratedRow.elbo),
    "vimco": (lambda p, q: VIMCO(p, q, particles=2), lambda exact: exact.iwae(2)),
    "rws": (lambda p, q: RWS(p, q, particles=2, weights="paths"), EnumeratedRow.weighted),
    "wake-sleep": (
        lambda p, q: WakeSleep(p, q, particles=2),
        lambda exact: exact.awake() + exact.dreamt(),
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"), [*(("categorical", name) for name in TARGETS), ("bernoulli", "elbo")]
)
def test_mean_gradient_is_that_of_the_target(kind, name):
    torch.manual_seed(0)
    model, guide = rows_pair(kind)
    x = frames("bernoulli")
    build, target = TARGETS[name]
    parameters = [*model.parameters(), *guide.parameters()]
    exact = gradient(target(EnumeratedRow(model, guide, x)), parameters)
    objective, batch = build(model, guide), Batch.of(x.expand(COPIES, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact, power=0.1)


def test_chains_of_jsa_keep_the_posterior_and_have_its_gradient():
    torch.manual_seed(1)
    model, guide = rows_pair("categorical")
    x = frames("bernoulli")
    exact = EnumeratedRow(model, guide, x)
    posterior = exact.log_p[:, 0].softmax(0).detach()
    objective, copies = JSA(model, guide, particles=3).double(), 2000
    objective.begin(Sequences(x.repeat(copies, 1).numpy(), torch.ones(copies).long().numpy()))
    batch = Batch.of(x.expand(copies, 1, -1))

    def loss():
        index = torch.multinomial(posterior, copies, replacement=True)
        objective.cache.write(batch, exact.z[index][:, None])
        return -objective(batch).surrogate

    parameters = [*model.parameters(), *guide.parameters()]
    samples = sample_gradients(loss, parameters, calls=CALLS)
    assert_mean(samples, gradient(exact.converged(), parameters))
    states = objective.cache.read(batch)[:, 0]
    same = (states[:, None] == exact.z).all(-1)
    assert bool((same.sum(-1) == 1).all())  # a state is one of the values
    assert_mean(same.double(), posterior, power=0.2)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_the_bound_is_that_of_enumeration(kind):
    torch.manual_seed(2)
    model, guide = rows_pair(kind)
    x = frames("bernoulli")
    exact = EnumeratedRow(model, guide, x)
    torch.testing.assert_close(exact.q.sum(), torch.ones(()).double())
    with torch.no_grad():
        found = ELBO(model, guide).trace(Batch.of(x.expand(5000, 1, -1))).log_w.flatten()
    assert_mean(found, exact.elbo().detach())
