"""Mean gradients on rows above bits that depend on each other, against sums over all latents."""

import pytest
import torch
from dependent_bits import EnumeratedBits, bits_pair

from oracles import assert_mean, gradient, linear_bits, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.distributions import BernoulliVector, LinearBits, log_logistic, relaxed_log_probs
from pyrodgm.errors import CompatibilityError
from pyrodgm.objectives import (
    ELBO,
    JSA,
    NVIL,
    OBJECTIVES,
    RLOO,
    RWS,
    VIMCO,
    DisARM,
    DoubleCV,
    MuProp,
    TraceELBO,
    WakeSleep,
)
from pyrodgm.setup import compat
from variants import frames

COPIES, CALLS = 1500, 24
SIZE = {"hidden_dim": (2, 2)}


def with_fixed_baseline(model, guide):
    """The mean gradient must not depend on the baseline."""
    objective = NVIL(model, guide, signal="future", normalise=False).double().eval()
    objective.mean.value = torch.tensor(-1.3).double()
    return objective


TARGETS = {
    "elbo": (ELBO, EnumeratedBits.elbo),
    "nvil": (with_fixed_baseline, EnumeratedBits.elbo),
    "rloo": (lambda p, q: RLOO(p, q, particles=3, signal="future"), EnumeratedBits.elbo),
    "double-cv": (lambda p, q: DoubleCV(p, q, particles=3), EnumeratedBits.elbo),
    "disarm": (DisARM, EnumeratedBits.elbo),
    "muprop": (MuProp, EnumeratedBits.elbo),
    "trace-elbo": (TraceELBO, EnumeratedBits.elbo),
    "vimco": (lambda p, q: VIMCO(p, q, particles=2), lambda exact: exact.iwae(2)),
    "rws": (lambda p, q: RWS(p, q, particles=2, weights="paths"), EnumeratedBits.weighted),
    "wake-sleep": (
        lambda p, q: WakeSleep(p, q, particles=2),
        lambda exact: exact.awake() + exact.dreamt(),
    ),
}
DEPENDENT = [name for name in TARGETS if name not in ("disarm", "muprop")]


@pytest.mark.parametrize(
    ("model", "guide", "name"),
    [
        *(("darn", "darn", name) for name in DEPENDENT),
        ("darn", "nade", "double-cv"),
        ("sbn", "nade", "rloo"),
        *(("darn", "bernoulli", name) for name in ("disarm", "muprop")),
    ],
)
def test_mean_gradient_is_that_of_the_target(model, guide, name):
    torch.manual_seed(0)
    pair = bits_pair(model, guide, **SIZE)
    x = frames("nade", 1)[0]
    build, target = TARGETS[name]
    parameters = [parameter for each in pair for parameter in each.parameters()]
    exact = gradient(target(EnumeratedBits(*pair, x)), parameters)
    objective, batch = build(*pair), Batch.of(x.expand(COPIES, 1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact, power=0.1)


def test_chains_of_jsa_keep_the_posterior_and_have_its_gradient():
    torch.manual_seed(1)
    model, guide = bits_pair("darn", "darn", **SIZE)
    x = frames("nade", 1)[0]
    exact = EnumeratedBits(model, guide, x)
    states = torch.cat([*exact.paths.values()], -1)[:, 0]
    posterior = exact.log_p[:, 0].softmax(0).detach()
    objective, copies = JSA(model, guide, particles=3).double(), 2000
    objective.begin(Sequences(x.repeat(copies, 1).numpy(), torch.ones(copies).long().numpy()))
    batch = Batch.of(x.expand(copies, 1, -1))

    def loss():
        index = torch.multinomial(posterior, copies, replacement=True)
        objective.cache.write(batch, states[index][:, None])
        return -objective(batch).surrogate

    parameters = [*model.parameters(), *guide.parameters()]
    samples = sample_gradients(loss, parameters, calls=CALLS)
    assert_mean(samples, gradient(exact.converged(), parameters), power=0.1)
    same = (objective.cache.read(batch)[:, 0][:, None] == states).all(-1)
    assert_mean(same.double(), posterior, power=0.2)


def test_relaxed_bits_of_a_model_have_log_odds_given_the_relaxed_bits_before():
    torch.manual_seed(2)
    l_q, bias, noise = torch.randn(3, 4, 3).double()
    weight = torch.randn(3, 3).double()
    value = ((l_q - noise) / 0.5).sigmoid()
    found, of_guide = relaxed_log_probs(
        LinearBits(bias, weight), BernoulliVector(l_q), noise, value
    )
    expected = torch.zeros(4).double()
    for j in range(3):
        l_p = bias[:, j] + value[:, :j] @ weight[j, :j]
        expected = expected + log_logistic((l_p - l_q[:, j] + noise[:, j])[:, None])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(of_guide, log_logistic(noise))
    assert linear_bits(weight)(bias, value).shape == found.shape


@pytest.mark.parametrize("name", ["concrete", "disarm", "muprop", "reinmax", "straight-through"])
def test_objectives_of_independent_bits_are_refused_with_what_fits(name):
    model, guide = bits_pair("sbn", "darn", **SIZE)
    with pytest.raises(CompatibilityError) as caught:
        compat.check(model, guide, OBJECTIVES[name])
    message = str(caught.value)
    assert "draws the bits of a site one after the other" in message
    assert "needs one that draws the bits of a site independently of each other" in message
    assert "double-cv" in message.split("objectives that fit")[1].split("\n")[0]
    assert "bernoulli" in message.split("guides that fit")[1]
