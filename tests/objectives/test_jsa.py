"""The chain of JSA against the posterior by enumeration, and its mean gradient there."""

import shutil

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from dreams import dreamt, totals
from torch import nn

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from processes import fit_or_resume, together
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.draws import draw
from pyrodgm.engine.terms import scored_terms
from pyrodgm.errors import UsageError
from pyrodgm.guides import GuideTraits, RecurrentBernoulli, StepGuide
from pyrodgm.models import ModelTraits, Site, StepModel
from pyrodgm.objectives import JSA, RLOO, jsa
from pyrodgm.objectives.jsa import independence_chain
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import tiny_values
from variants import (
    INFOS,
    VARIANTS,
    D,
    frames,
    latent_paths,
    mild,
    output_log_probs,
    pair,
    path_log_probs,
    randomised,
)

COPIES = 20_000


def posterior(model, guide, x):
    """Every path of the latents, (S, T, J) by site, and its probability given x, (S,)."""
    paths, batch = latent_paths(guide, len(x)), Batch.of(x[None])
    joint = sum(path_log_probs(model, batch, paths).values()).sum((1, 2))
    return {name: path[:, 0] for name, path in paths.items()}, joint.softmax(0).detach()


def started(model, guide, x, copies):
    """An objective whose chains have converged, and a batch that repeats one sequence."""
    objective = JSA(model, guide, particles=3).double()
    length = len(x)
    data = x.repeat(copies, 1)
    objective.begin(Sequences(data.numpy(), torch.full((copies,), length).numpy()))
    batch = Batch.of(x.expand(copies, -1, -1))
    paths, probability = posterior(model, guide, x)
    index = torch.multinomial(probability, copies, replacement=True)
    return objective, batch, torch.cat([path[index] for path in paths.values()], -1)


@pytest.mark.parametrize("variant", ["tsbn", "dtsbn-d", "sbn"])
def test_moves_leave_the_posterior_as_it_is(variant):
    torch.manual_seed(0)
    model, guide = mild(variant)
    x = frames("bernoulli", min(2, VARIANTS[variant].length))
    objective, batch, states = started(model, guide, x, COPIES)
    objective.cache.write(batch, states)
    objective.loss(batch)
    bits = objective.cache.read(batch).flatten(1).long()
    assert (objective.cache.read(batch) != states).any(-1).any(-1).double().mean() > 0.2
    paths, probability = posterior(model, guide, x)
    every = torch.cat(list(paths.values()), -1).flatten(1).long()
    weights = 2 ** torch.arange(every.shape[1])
    order = (every * weights).sum(-1).argsort()
    number = (bits * weights).sum(-1)
    found = torch.nn.functional.one_hot(number, len(every)).double()
    assert_mean(found, probability[order])


@pytest.mark.parametrize("variant", ["tsbn order 2", "sbn"])
def test_the_gradient_where_chains_have_converged(variant):
    """That of log p(x) for the model, and of the KL divergence from the posterior for the guide."""
    torch.manual_seed(1)
    model, guide = mild(variant)
    x = frames("bernoulli", min(2, VARIANTS[variant].length))
    objective, batch, _ = started(model, guide, x, 2000)
    paths, probability = posterior(model, guide, x)
    log_q = sum(
        path_log_probs(guide, Batch.of(x[None]), {n: p[:, None] for n, p in paths.items()}).values()
    ).sum((1, 2))
    target = output_log_probs(model, x[None]).sum() + (probability * log_q).sum()
    parameters = [*model.parameters(), *guide.parameters()]

    def surrogate():
        index = torch.multinomial(probability, batch.size, replacement=True)
        objective.cache.write(batch, torch.cat([path[index] for path in paths.values()], -1))
        return -objective.loss(batch).surrogate

    samples = sample_gradients(surrogate, parameters, calls=24)
    assert_mean(samples, gradient(target, parameters))


def test_a_share_of_the_gradient_of_the_guide_is_that_of_the_sleep_phase():
    """Of chains with a single move and no cache, which take what the guide draws."""
    torch.manual_seed(2)
    model, guide = mild("sbn")
    x, share = frames("bernoulli", 1, 1), 0.5
    objective = JSA(model, guide, particles=1, cache=False, sleep=share)  # takes every proposal
    paths = latent_paths(guide, 1)
    log_q, log_p = (totals(program, Batch.of(x), paths) for program in (guide, model))
    wake = (log_q.detach().exp() * log_p).sum()
    ours, theirs = list(model.parameters()), list(guide.parameters())
    # The score of a draw has mean zero, so the guide has the sleep phase alone here.
    exact = torch.cat([gradient(wake, ours), share * gradient(dreamt(model, guide, 1), theirs)])
    batch = Batch.of(x.expand(2000, -1, -1))
    samples = sample_gradients(lambda: -objective(batch).surrogate, [*ours, *theirs], calls=24)
    assert_mean(samples, exact)


def test_a_row_that_has_no_state_takes_its_first_proposal():
    log_w = torch.tensor([[5.0, 5.0], [0.0, 0.0]])
    path = independence_chain(log_w, torch.tensor([False, True]))
    assert path[0, 0] == 1
    assert path[0, 1] in (0, 1)


def test_without_a_cache_nothing_is_kept():
    torch.manual_seed(2)
    model, guide = mild("tsbn")
    objective = JSA(model, guide, cache=False)
    loss = objective.loss(Batch.of(frames("bernoulli", 3, 3)))
    assert 0 < loss.report["acceptance"] <= 1
    assert objective.cache is None


def test_chains_start_with_their_proposals_during_the_warm_up(monkeypatch):
    torch.manual_seed(9)
    model, guide = mild("sbn")
    batch = Batch.of(frames("bernoulli", 3, 1))
    objective = JSA(model, guide, warm_up=2)
    objective.begin(Sequences(np.zeros((3, D), np.uint8), np.ones(3, int)))
    started, chain = [], jsa.independence_chain

    def watched(log_w, continues):
        started.append(bool(continues.all()))
        return chain(log_w, continues)

    monkeypatch.setattr(jsa, "independence_chain", watched)
    for _ in range(4):
        objective(batch)
    assert started == [False, False, True, True]
    with pytest.raises(UsageError, match="give one of the two"):
        JSA(model, guide, cache=False, warm_up=3)


def test_states_are_known_by_row_and_site():
    """In another order, of another length, with padding: every row finds its own latents."""
    torch.manual_seed(3)
    model, guide = mild("dtsbn-s")
    lengths = torch.tensor([3, 1, 2])
    x = frames("bernoulli", 3, 3)
    mask = torch.arange(3) < lengths[:, None]
    batch = Batch(x * mask[..., None], mask, torch.arange(3))
    objective = JSA(model, guide).double()
    objective.begin(Sequences(x[mask].numpy(), lengths.numpy()))
    objective.loss(batch)
    kept = objective.cache.read(batch)
    turned = Batch(batch.x[[2, 0]], mask[[2, 0]], torch.tensor([2, 0]))
    assert torch.equal(objective.cache.read(turned), kept[[2, 0]])
    sites = dict(zip(guide.latents, kept.split([2, 2], -1), strict=True))
    found = scored_terms(model, guide, batch, {n: v[None].double() for n, v in sites.items()})
    assert torch.isfinite(found.log_w).all()
    assert set(draw(guide, batch).values) == set(sites)
    objective.eval().loss(turned)
    assert torch.equal(objective.cache.read(batch), kept)


def test_killed_and_resumed(tiny, tmp_path):
    values = tiny_values(tiny)
    values["objective"] = {"name": "jsa"}
    fit_config(resolve(values), tmp_path / "whole")
    with pytest.raises(Killed):
        fit_config(resolve(values), tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_two_processes_have_rows_of_their_own(tiny, tmp_path):
    values = tiny_values(tiny, devices=2, device="cpu")
    values["objective"] = {"name": "jsa"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert together(fit_or_resume, values, whole) == [True, True]
    newest = RunFolder.open(whole).latest()
    rows = [set(own["cache"]["rows"].tolist()) for own in checkpoint.read_state(newest)["own"]]
    assert all(rows)
    assert not rows[0] & rows[1]
    shutil.copytree(whole, killed)
    shutil.rmtree(RunFolder.open(killed).latest())
    together(fit_or_resume, None, killed)
    assert_same_run(whole, killed)


class Positive(StepModel):
    """Rows of bits given a positive number."""

    traits = ModelTraits(latents="continuous", sequential=False)

    def __init__(self):
        super().__init__(INFOS["nade"])
        self.history, self.observed = 0, {"x": D}
        self.latents = {"z": Site(1, "continuous")}
        self.emission = nn.Linear(1, D)

    def step(self, draw, past, encoded, t):
        z = draw("z", dist.LogNormal(torch.zeros(1), 1.0).to_event(1))
        draw("x", BernoulliVector(self.emission(z)))


class PositiveGuide(StepGuide):
    traits = GuideTraits(latents="continuous", sequential=False, reparameterised=True)

    def __init__(self, model):
        super().__init__(model)
        self.history, self.mean = 0, nn.Linear(D, 1)

    def encode(self, batch):
        return self.mean(batch.x)

    def step(self, draw, past, encoded, t):
        draw("z", dist.LogNormal(encoded, 1.0).to_event(1))


def test_before_its_start_a_chain_has_a_state_that_can_be_drawn():
    """Not zero, which is outside the support of a positive number."""
    model = Positive()
    objective = JSA(model, PositiveGuide(model), particles=3)
    rows = Sequences(frames("nade", 6).numpy(), np.ones(6, int))
    objective.begin(rows)
    loss = objective(rows.batch(range(6))).surrogate
    assert torch.autograd.grad(loss, [model.emission.weight])[0].isfinite().all()


class Dropping(RecurrentBernoulli):
    """A guide that drops half of its features."""

    def encode(self, batch):
        return 5 * nn.functional.dropout(super().encode(batch), 0.5, self.training)


def test_proposals_are_scored_with_the_units_that_drew_them():
    """Bits have no positive log-likelihood, and no larger bound."""
    model, _ = pair("tsbn")
    guide = randomised(Dropping(model), 2.0)
    batch = Batch.of(frames("bernoulli", 200, 3).round())
    found = JSA(model, guide, particles=4, cache=False)(batch).report["elbo_nats_per_frame"]
    other = RLOO(model, guide, particles=4)(batch).report["elbo_nats_per_frame"]
    assert found < 0
    assert abs(found - other) < 0.2 * abs(other)
