"""Chains by every kernel: gradients in equilibrium, what is reported of them, and warnings."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from models.test_random_field import BITS, DICE, REAL, field, nats, rows
from torch import Tensor

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import ChainWarning, CompatibilityError, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import RBM
from pyrodgm.objectives import CD, PCD
from pyrodgm.objectives.chain_health import DECAY, ChainHealth
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import ragged

ONE = replace(REAL, dim=1, mean=(3.0,), std=(2.0,), centre=(3.0,))
BETAS = (1.0, 0.6)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def states_of(info) -> Tensor:
    """Rows that carry all, or in practice all, of the mass, (S, D)."""
    return torch.linspace(-20, 20, 2001)[:, None] if info.kind == "real" else rows(info)


@pytest.mark.parametrize(
    ("info", "options"),
    [
        (BITS, {}),
        (BITS, {"kernel": "gibbs"}),
        (BITS, {"kernel": "discrete-langevin"}),
        (BITS, {"kernel": "gibbs-with-gradients", "steps": 2, "tempering": BETAS}),
        (DICE, {}),
        (DICE, {"kernel": "discrete-langevin", "step_size": 1.0}),
        (ONE, {"kernel": "mala", "step_size": 0.3}),
        (ONE, {"kernel": "mala", "step_size": 0.3, "tempering": BETAS}),
    ],
    ids=lambda each: each.name if hasattr(each, "name") else "-".join(map(str, each.values())),
)
def test_the_mean_gradient_in_equilibrium_is_that_of_the_log_likelihood(info, options):
    assert_unbiased(field(info, 2.0), options)


def test_tempered_chains_of_a_machine_are_those_of_its_density():
    assert_unbiased(RBM(BITS, hidden_dim=2, init_scale=1.0), {"tempering": BETAS, "steps": 2})


def assert_unbiased(model, options):
    """Chains that start in equilibrium give the gradient of the log-likelihood, in the mean."""
    objective = PCD(model, NoGuide(model), particles=1000, **options)
    states = states_of(model.info)
    objective.begin(Sequences(states.numpy(), np.ones(len(states), int)))
    batch = Batch.of(states[torch.tensor([0, 1, 3])][:, None])
    of_states = nats(model, states)
    parameters = [p for p in model.parameters() if p.dim() > 1]
    exact = gradient(nats(model, batch.x[:, 0]).mean() - of_states.logsumexp(0), parameters)
    log_p = of_states.detach()
    starts = [beta * log_p for beta in (options.get("tempering") or (1.0,))]

    def surrogate():
        each = [states[p.softmax(0).multinomial(1000, replacement=True)] for p in starts]
        objective.chains["x"] = torch.stack(each)[:, :, None] if len(each) > 1 else each[0][:, None]
        return -objective(batch).surrogate

    assert_mean(sample_gradients(surrogate, parameters, 60), exact, power=0.3)


def test_the_model_says_what_its_chains_are():
    kinds = [
        PCD(m, NoGuide(m)).moves.kind for m in (field(BITS), field(DICE), field(REAL), RBM(BITS))
    ]
    assert kinds == ["gibbs-with-gradients", "gibbs-with-gradients", "sgld", "gibbs"]
    tempered = [PCD(m, NoGuide(m), tempering=BETAS).moves.kind for m in (RBM(BITS), RBM(REAL))]
    assert tempered == ["gibbs-with-gradients", "mala"]
    assert [CD(m, NoGuide(m)).moves.steps for m in (field(BITS), RBM(BITS))] == [10, 1]


@pytest.mark.parametrize(
    ("info", "options", "error", "words"),
    [
        (BITS, {"kernel": "sgld"}, CompatibilityError, "does not move binary values; choose auto"),
        (REAL, {"kernel": "gibbs-with-gradients"}, CompatibilityError, "sgld, sghmc, mala"),
        (BITS, {"step_size": 0.1}, UsageError, "has no step_size; leave it out, or choose disc"),
        (REAL, {"kernel": "mala", "noise": 0.1}, UsageError, "has no noise"),
        (BITS, {"tempering": (0.5, 1.0)}, UsageError, "the first one 1"),
        (BITS, {"kernel": "gibbs", "tempering": BETAS}, CompatibilityError, "of the model alone"),
    ],
)
def test_kernels_and_sizes_that_do_not_fit_are_refused(info, options, error, words):
    model = field(info)
    with pytest.raises(error, match=words):
        PCD(model, NoGuide(model), **options)


def test_gibbs_of_real_numbers_is_refused_by_the_model():
    model = field(REAL)
    objective = PCD(model, NoGuide(model), kernel="gibbs")
    objective.begin(data(REAL))
    with pytest.raises(CompatibilityError, match="only for bits"):
        objective(Batch.of(torch.zeros(2, 1, 2)))


def data(info, num: int = 30) -> Sequences:
    x = torch.randn(num, info.dim) if info.kind == "real" else rows(info)[torch.arange(num) % 6]
    return Sequences(x.numpy(), np.ones(num, int))


@pytest.mark.parametrize("info", [BITS, DICE, REAL], ids=lambda info: info.name)
def test_random_starts_are_rows_of_the_kind(info):
    model = field(info)
    objective = PCD(model, NoGuide(model), particles=500, start="random", tempering=BETAS)
    objective.begin(data(info))
    x = objective.chains["x"]
    assert x.shape == (2, 500, 1, info.dim)
    if info is REAL:
        assert_mean(model.codes(x).flatten(0, 2).square(), torch.ones(2), power=0.3)
    else:
        assert {tuple(row) for row in x.view(-1, info.dim).tolist()} == set(
            map(tuple, rows(info).tolist())
        )


def test_chains_do_not_depend_on_the_size_of_batches():
    model = field(BITS)
    objective = PCD(model, NoGuide(model), particles=7)
    objective.begin(data(BITS))
    for size in (5, 2, 9):
        before = objective.chains["x"]
        objective(Batch.of(rows(BITS)[:size, None]))
        assert objective.chains["x"].shape == (7, 1, 4)
        assert 0 < float((objective.chains["x"] != before).float().mean()) < 1


@pytest.mark.parametrize("info", [DICE, REAL], ids=lambda info: info.name)
def test_independent_moves_have_a_mobility_of_one_and_as_many_draws_as_chains(info):
    model = field(info)
    health = PCD(model, NoGuide(model)).health
    if info is REAL:
        first, second = (model.codes.decoded(torch.randn(20_000, 1, 2)) for _ in range(2))
    else:
        frame = model.reference()
        first, second = (frame.sample((20_000, 1)) for _ in range(2))
    mask = torch.ones(20_000, 1, dtype=torch.bool)
    assert float(health.measure(first, second, mask)) == pytest.approx(1.0, rel=0.05)
    with torch.no_grad():
        each = [model.potential(x, Batch.of(x)) for x in (first, second)]
    assert float(health.likeness(*each, mask)) < 0.05
    assert float(health.likeness(each[0], 2 * each[0] + 1, mask)) == pytest.approx(1.0, abs=1e-5)
    noisy = each[0] + each[0].std() * torch.randn_like(each[0])
    assert float(health.likeness(each[0], noisy, mask)) == pytest.approx(0.5**0.5, abs=0.03)
    one = mask[:1]
    assert float(health.likeness(each[0][:1], each[1][:1], one)) == 1.0


def test_chains_that_never_accept_leave_the_data_or_are_not_finite_are_told():
    model = field(REAL, reference="none")
    given = data(REAL)
    batch = given.batch(np.arange(9))
    stuck = PCD(model, NoGuide(model), kernel="mala", step_size=1e9, steps=1)
    wild = PCD(model, NoGuide(model), step_size=1e9, steps=1)
    for objective in (stuck, wild):
        objective.begin(given)
        for _ in range(4):
            report = objective(batch).report
        assert objective.chains["x"].isfinite().all()
    assert "chain_acceptance" not in report
    with torch.no_grad():
        model.network.layers[-1].weight.fill_(torch.inf)
    broken = PCD(model, NoGuide(model))
    broken.begin(given)
    broken(batch)
    assert broken.chains["x"].isfinite().all()
    found = ["\n".join(each.health.warnings_of(each.moves)) for each in (stuck, wild, broken)]
    assert "hardly accept: 0.0" in found[0]
    assert "hardly move" not in found[0]  # with advice that would contradict it
    assert "have left the data" in found[1]
    assert "lower objective.step_size or fit.lr, or set model.reference=marginals" in found[1]
    assert "not finite, and were undone" in found[2]
    with pytest.warns(ChainWarning, match="have left the data"):
        wild.health.warn(wild.moves)


def test_padding_has_no_part_in_what_is_said_of_chains():
    health, x = ChainHealth(field(REAL)), torch.randn(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    acceptance = torch.where(mask, 0.25, 1.0)
    health.update((x, x), (x[..., 0], x[..., 0]), mask, acceptance)
    assert float(health.acceptance.value) == 0.25
    expected = health.codes(x)[mask].square().mean()
    alone = ChainHealth(field(REAL))
    rows = x[mask][:, None]
    alone.update((rows, rows), (rows[..., 0], rows[..., 0]), mask[mask][:, None], torch.ones(()))
    torch.testing.assert_close(health.distance.value, alone.distance.value)
    torch.testing.assert_close(health.distance.value, (1 - DECAY) * expected)


def test_chains_with_small_steps_are_told_to_take_larger_ones():
    model, given = field(REAL), data(REAL)
    objective = PCD(model, NoGuide(model), step_size=1e-12, steps=1)
    objective.begin(given)
    objective(given.batch(np.arange(9)))
    (text,) = objective.health.warnings_of(objective.moves)
    assert "hardly move" in text
    assert "increase objective.step_size or objective.steps" in text


def values(folder, model, **options):
    """A configuration of a run on rows."""
    objective = {"name": "pcd", "particles": 7, **options}
    fit = {"steps": 12, "evaluate_every": 5, "batch_size": 8}
    named = {"name": "random-field", "hidden_dim": 4, **model}
    return {"model": named, "objective": objective, "data": {"source": str(folder)}, "fit": fit}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("binary", {"tempering": [1.0, 0.5]}), ("real", {"kernel": "sghmc"})],
)
def test_killed_and_resumed(tmp_path, kind, options):
    source = tmp_path / "rows.npz"
    np.savez(source, **ragged(2, kind))
    config = resolve(values(source, {}, **options))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChainWarning)
        run = fit_config(config, tmp_path / "whole")
        assert run.chosen_by == "exact"
        with pytest.raises(Killed):
            fit_config(config, tmp_path / "killed", Killer(7))
        resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
