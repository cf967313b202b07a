"""Bounds and mean gradients of every objective against sums over all latent paths."""

from __future__ import annotations

import pytest
import torch

from oracles import Enumerated, assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.evaluate.likelihood.bounds import sequence_bounds
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import (
    ELBO,
    NVIL,
    RLOO,
    DisARM,
    DoubleCV,
    LocalRLOO,
    MuProp,
    TraceELBO,
    TraceGraphELBO,
)
from pyrodgm.objectives import OBJECTIVES as OBJECTIVES_BY_NAME
from variants import VARIANTS, frames, pair, scoring

D, J = 3, 2
LENGTHS = [3, 2, 1]
COPIES = 400  # rows of a batch that repeat one sequence: independent draws at vector speed
CALLS = 24


def tiny(history: int = 1) -> tuple[TSBN, RecurrentBernoulli]:
    """A model and a guide with weights large enough for every term to matter."""
    info = DataInfo("tiny", "unit", D, (0.3, 0.5, 0.7), 2.0, 3)
    model = TSBN(info, hidden_dim=J, history=history).double()
    guide = RecurrentBernoulli(model).double()
    for module in (model, guide):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.8)
    return model, guide


def sequences() -> list[torch.Tensor]:
    """One binary and two grey sequences."""
    x = torch.rand(len(LENGTHS), max(LENGTHS), D, dtype=torch.float64)
    x[0] = x[0].round()
    return [row[:length] for row, length in zip(x, LENGTHS, strict=True)]


def ragged_batch(rows: list[torch.Tensor], copies: int, padding: int = 0) -> Batch:
    """All sequences, each `copies` times, padded beyond the longest by `padding` frames of junk."""
    length = max(map(len, rows)) + padding
    x = torch.full((len(rows), length, D), 0.5, dtype=torch.float64)
    for place, row in enumerate(rows):
        x[place, : len(row)] = row
    mask = torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
    index = torch.arange(len(rows)).repeat_interleave(copies)
    return Batch(x[index], mask[index], index)


def with_random_baseline(objective: NVIL) -> NVIL:
    """A baseline and centring that are arbitrary: the mean gradient must not care."""
    objective = objective.double().eval()
    for parameter in objective.baseline.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    objective.mean.value = torch.tensor(-1.3, dtype=torch.float64)
    return objective


OBJECTIVES = {
    "elbo": (lambda p, q: ELBO(p, q), 1.0),
    "elbo K=3": (lambda p, q: ELBO(p, q, particles=3), 1.0),
    "elbo, analytic": (lambda p, q: ELBO(p, q, kl="analytic"), 1.0),
    "nvil future": (lambda p, q: with_random_baseline(
        NVIL(p, q, signal="future", normalise=False)), 1.0),
    "nvil local": (lambda p, q: with_random_baseline(
        NVIL(p, q, signal="local", normalise=False)), 0.0),
    "nvil unrolled": (lambda p, q: with_random_baseline(
        NVIL(p, q, signal="future", normalise=False, execution="unrolled")), 1.0),
    "rloo future": (lambda p, q: RLOO(p, q, signal="future"), 1.0),
    "rloo 0.5": (lambda p, q: RLOO(p, q, signal=0.5, particles=3), 0.5),
    "rloo unrolled": (lambda p, q: RLOO(p, q, signal=0.5, execution="unrolled"), 0.5),
    "rloo-local": (lambda p, q: LocalRLOO(p, q, particles=3), 0.0),
    "disarm local": (lambda p, q: DisARM(p, q), 0.0),
    "disarm future": (lambda p, q: DisARM(p, q, particles=2, signal="future"), 1.0),
    "double-cv local": (lambda p, q: DoubleCV(p, q), 0.0),
    "double-cv 0.5": (lambda p, q: DoubleCV(p, q, signal=0.5), 0.5),
    "double-cv future": (lambda p, q: DoubleCV(p, q, particles=3, signal="future"), 1.0),
    "muprop": (lambda p, q: MuProp(p, q), 1.0),
    "trace-elbo": (lambda p, q: TraceELBO(p, q), 1.0),
    "tracegraph-elbo none": (lambda p, q: TraceGraphELBO(p, q, baseline="none"), 1.0),
    "tracegraph-elbo network": (lambda p, q: TraceGraphELBO(p, q).double(), 1.0),
}  # fmt: skip


# A model of order 2 has everything that one of order 1 has.
ORDERS = [*((name, 2) for name in OBJECTIVES), ("nvil future", 1), ("rloo-local", 1)]


@pytest.mark.parametrize(("name", "history"), ORDERS)
def test_mean_gradient_is_that_of_the_stated_target(name: str, history: int) -> None:
    model, guide = tiny(history)
    build, discount = OBJECTIVES[name]
    objective = build(model, guide)
    rows = sequences()
    parameters = [*model.parameters(), *guide.parameters()]
    exact = sum(
        gradient(Enumerated(model, guide, x).score_surrogate(discount), parameters) for x in rows
    ) / len(rows)
    plain = not name.startswith(("nvil", "rloo"))  # larger variance
    batch = ragged_batch(rows, 1000 if plain else COPIES, padding=1)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, exact)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("name", ["elbo", "nvil", "rloo", "trace-elbo", "tracegraph-elbo"])
def test_the_bound_that_is_reported_is_that_of_enumeration(name: str, particles: int) -> None:
    """In nats per frame, whatever the number of draws; padding does not count."""
    particles = max(particles, 2) if name == "rloo" else particles
    model, guide = tiny()
    objective = OBJECTIVES_BY_NAME[name](model, guide, particles=particles).double().eval()
    rows = sequences()
    exact = sum(Enumerated(model, guide, x).elbo() for x in rows) / sum(map(len, rows))
    batch = ragged_batch(rows, 50, padding=1)
    with torch.no_grad():
        reports = [objective(batch).report["elbo_nats_per_frame"] for _ in range(16)]
    assert_mean(torch.stack(reports)[:, None], exact.detach())


# Every variant and every estimator that treats it differently, each with an emission.
CELLS = [
    ("hmsbn", "gaussian", "rloo-local"),
    ("deep hmsbn", "multinomial", "rloo future"),
    ("deep hmsbn", "multinomial", "rloo-local"),
    ("dtsbn-s", "bernoulli", "nvil future"),
    ("dtsbn-s", "nade", "rloo-local"),
    ("dtsbn-s order 2", "bernoulli", "rloo future"),
    ("dtsbn-d", "bernoulli", "nvil future"),
    ("dtsbn-d", "gaussian", "rloo future"),
    ("dtsbn-d", "multinomial", "rloo unrolled"),
    ("dtsbn-d order 2", "bernoulli", "rloo-local"),
    ("dtsbn-d order 2", "nade", "rloo-local"),
    ("sbn", "bernoulli", "rloo future"),
    ("sbn", "bernoulli", "disarm local"),
    ("sbn network", "bernoulli", "rloo future"),
    ("sbn network", "nade", "disarm local"),
    ("sbn", "bernoulli", "double-cv local"),
    ("sbn", "bernoulli", "double-cv future"),
    ("dtsbn-s", "bernoulli", "disarm local"),
    ("dtsbn-s", "bernoulli", "disarm future"),
    ("dtsbn-s", "gaussian", "double-cv local"),
    ("dtsbn-s order 2", "nade", "double-cv future"),
    ("dtsbn-d", "gaussian", "disarm future"),
    ("dtsbn-d", "multinomial", "double-cv local"),
    ("dtsbn-d", "bernoulli", "double-cv 0.5"),
    ("sbn", "bernoulli", "muprop"),
    ("dtsbn-s", "gaussian", "muprop"),
    ("dtsbn-d order 2", "bernoulli", "muprop"),
]


@pytest.mark.parametrize(("variant", "emission", "name"), CELLS)
def test_mean_gradients_of_the_variants(variant: str, emission: str, name: str) -> None:
    """Where states follow the path, the model's part must be exact for the local signal too."""
    model, guide = pair(variant, emission)
    x = frames(emission, VARIANTS[variant].length)
    build, discount = OBJECTIVES[name]
    objective = build(model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    surrogate = Enumerated(model, guide, x, **scoring(model, emission)).score_surrogate(discount)
    batch = ragged_batch([x], 4 * COPIES, padding=1)
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, gradient(surrogate, parameters))


@pytest.mark.parametrize(
    "name", ["rloo future", "rloo-local", "disarm future", "double-cv 0.5", "muprop"]
)
def test_mean_gradients_where_features_are_missing(name: str) -> None:
    model, guide = pair("dtsbn-d", "gaussian")
    x, seen = frames("gaussian", 3), slice(0, None, 2)
    build, discount = OBJECTIVES[name]
    objective = build(model, guide)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = Enumerated(model, guide, x, **scoring(model, "gaussian", seen))
    batch = ragged_batch([x], 4 * COPIES)
    batch.seen = torch.zeros_like(batch.x, dtype=torch.bool)
    batch.seen[..., seen] = True
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, calls=CALLS)
    assert_mean(samples, gradient(exact.score_surrogate(discount), parameters))


def test_future_signal_is_the_gradient_of_the_bound_and_local_is_not() -> None:
    model, guide = tiny()
    exact = Enumerated(model, guide, sequences()[0])
    parameters = list(guide.parameters())
    truth = gradient(exact.elbo(), parameters)
    torch.testing.assert_close(gradient(exact.score_surrogate(1.0), parameters), truth)
    bias = (gradient(exact.score_surrogate(0.0), parameters) - truth).norm() / truth.norm()
    assert 0.05 < bias < 2, f"the documented bias of the local signal is {bias:.1%} here"
    # The last frame has no future, so with one frame local and future agree.
    single = Enumerated(model, guide, sequences()[2])
    torch.testing.assert_close(
        gradient(single.score_surrogate(0.0), parameters),
        gradient(single.elbo(), parameters),
    )


def test_normalised_nvil_points_the_same_way() -> None:
    model, guide = tiny()
    rows = sequences()
    plain, scaled = (
        with_random_baseline(NVIL(model, guide, signal="future", normalise=on))
        for on in (False, True)
    )
    scaled.load_state_dict(plain.state_dict())
    scaled.variance.value = torch.tensor(9.0, dtype=torch.float64)
    parameters = list(guide.parameters())
    batch = ragged_batch(rows, copies=1)
    first, second = [], []
    for objective, kept in ((plain, first), (scaled, second)):
        torch.manual_seed(3)
        kept.append(gradient(objective(batch).surrogate, parameters))
    torch.testing.assert_close(first[0], 3 * second[0])


def test_the_bound_equals_enumeration_and_rises_with_particles() -> None:
    model, guide = tiny()
    x = sequences()[1]
    exact = Enumerated(model, guide, x)
    bounds = [exact.elbo(), *(exact.iwae(k) for k in (2, 3))]
    assert bounds[0] < bounds[1] < bounds[2] < exact.evidence()
    torch.testing.assert_close(exact.iwae(1), exact.elbo())
    copies = 4000
    split = Sequences(x.repeat(copies, 1).numpy(), torch.full((copies,), len(x)).numpy())
    torch.set_default_dtype(torch.float64)
    try:
        for particles, value in enumerate(bounds, start=1):
            nats, _ = sequence_bounds(model, guide, split, particles=particles)
            assert_mean(torch.from_numpy(nats)[:, None], value.detach(), power=0.05)
    finally:
        torch.set_default_dtype(torch.float32)


def test_importance_weights_recover_the_evidence() -> None:
    model, guide = tiny()
    exact = Enumerated(model, guide, sequences()[0])
    evidence = (exact.q * exact.log_w.exp()).sum().log()
    torch.testing.assert_close(evidence, exact.evidence())
    torch.testing.assert_close(exact.q.sum(), torch.ones((), dtype=torch.float64))


def test_baselines_see_observations_as_the_model_does() -> None:
    """Thousands of words would leave every tanh unit at its end, where nothing is learnt."""
    model, guide = pair("hmsbn", "multinomial")
    seen = []
    objective = NVIL(model, guide, baseline_dim=2)
    assert objective.baseline is not None
    objective.baseline.double().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    counts = 1000 * frames("multinomial", 2, 3)
    objective(Batch.of(counts))
    torch.testing.assert_close(seen[0], counts.log1p())


def test_baselines_lower_the_variance_of_plain_scores() -> None:
    torch.manual_seed(1)
    model, guide = tiny()
    rows = sequences()[:1]
    batch = ragged_batch(rows, copies=50)
    nvil = NVIL(model, guide, signal="future", normalise=False).double()
    optimizer = torch.optim.Adam(nvil.baseline.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        nvil(batch).surrogate.backward()
        optimizer.step()
    objectives = [
        ELBO(model, guide, particles=4),
        NVIL(model, guide, signal="future", normalise=False, particles=4).double(),
        RLOO(model, guide, signal="future", particles=4),
    ]
    objectives[1].load_state_dict(nvil.state_dict())
    parameters = list(guide.parameters())
    spread = []
    for objective in objectives:
        objective.eval()
        samples = sample_gradients(lambda o=objective: o(batch).surrogate, parameters, calls=200)
        spread.append(float(samples.var(0).sum()))
    # 200 draws of a dozen parameters: an F-test at 2e-5 needs a ratio of about 1.35 in one of
    # them, and far less in their sum.
    assert spread[0] > 1.35 * max(spread[1:])
