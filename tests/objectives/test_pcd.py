"""Persistent contrastive divergence: its mean gradient in equilibrium, its chains, a whole run."""

import json
import shutil

import numpy as np
import pytest
import torch
from models.test_rbm import INFO, D, joint, machine, one_hot, states

from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from processes import fit_or_resume, together
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import ChainWarning, CompatibilityError
from pyrodgm.guides import LayeredBernoulli, NoGuide
from pyrodgm.models import RBM, SBN
from pyrodgm.objectives import ELBO, ML, PCD, RLOO
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup import compat
from pyrodgm.setup.config import resolve
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import metrics, tiny_values

DATA = Sequences(states(D).numpy(), np.array([4, 1, 3, 8]))


def ragged():
    """Sequences of 3, 1 and 2 frames."""
    mask = torch.arange(3) < torch.tensor([3, 1, 2])[:, None]
    x = states(D)[:9].reshape(3, 3, D) * mask[..., None]
    return Batch(x, mask, torch.arange(3))


@pytest.mark.parametrize("steps", [1, 3])
def test_the_mean_gradient_in_equilibrium_is_that_of_the_log_likelihood(steps):
    torch.manual_seed(0)
    model, batch = machine(), ragged()
    objective = PCD(model, NoGuide(model), particles=500, steps=steps).double()
    objective.begin(DATA)
    log_p = model.potential(batch.x, batch) - model.log_normaliser()
    exact = (log_p * batch.mask).sum() / 3
    p = joint(model).logsumexp(1).softmax(0).detach()

    def surrogate():
        objective.chains["x"] = states(D)[p.multinomial(500, replacement=True)][:, None]
        return -objective(batch).surrogate

    parameters = list(model.parameters())
    assert_mean(sample_gradients(surrogate, parameters, 400), gradient(exact, parameters))


def test_chains_reach_the_exact_distribution():
    torch.manual_seed(2)
    model = machine()
    objective = PCD(model, NoGuide(model), particles=40_000, steps=50, start="random").double()
    objective.begin(DATA)
    objective(ragged())
    expected = joint(model).logsumexp(1).softmax(0).detach()
    assert_mean(one_hot(objective.chains["x"][:, 0]), expected)


def test_where_chains_begin():
    torch.manual_seed(3)
    data = Sequences(np.eye(D)[[0, 0, 1]], np.array([2, 1]))
    model = RBM(INFO)
    objective = PCD(model, NoGuide(model), particles=400)
    objective.begin(data)
    frames = torch.tensor([[2 / 3, 1 / 3, 0, 0]]).double()
    torch.testing.assert_close(objective.chains["x"].mean(0).double(), frames, atol=0.12, rtol=0.0)
    objective = PCD(model, NoGuide(model), particles=400, start="random")
    objective.begin(data)
    assert (objective.chains["x"].mean(0) - 0.5).abs().max() < 0.12


def test_chains_move_in_training_alone():
    torch.manual_seed(4)
    model = machine()
    objective = PCD(model, NoGuide(model)).double()
    objective.begin(DATA)
    before = objective.chains["x"]
    objective.eval()(ragged())
    assert torch.equal(objective.chains["x"], before)
    objective.train()(ragged())
    assert not torch.equal(objective.chains["x"], before)


def test_chains_that_do_not_move_are_told():
    model = RBM(INFO, hidden_dim=2)
    with torch.no_grad():
        model.visible.fill_(40.0)
    objective = PCD(model, NoGuide(model), steps=2)
    objective.begin(Sequences(np.ones((3, D), np.uint8), np.array([3])))
    for _ in range(3):
        report = objective(Batch.of(torch.ones(1, 3, D))).report
    assert report["chain_mobility"] == 0
    data = Sequences(np.ones((3, D), np.uint8), np.array([3]))
    with pytest.warns(ChainWarning, match=r"hardly move: a step changes 0\.00%"):
        objective.eval().validate(data)


def test_chains_that_move_have_a_mobility_near_one():
    """Those of a machine without weights are new rows at the rates of the data."""
    torch.manual_seed(5)
    model = RBM(INFO, hidden_dim=2, init_scale=0.0)
    objective = PCD(model, NoGuide(model), particles=20_000)
    objective.begin(DATA)
    batch = Batch.of(torch.zeros(1, 1, D))
    objective(batch)
    before = objective.chains["x"]
    objective(batch)
    moved = objective.health.measure(before, objective.chains["x"], torch.ones(20_000, 1))
    assert float(moved) == pytest.approx(1.0, rel=0.03)


def test_weights_are_chosen_by_what_can_be_computed():
    small, large = RBM(INFO), RBM(INFO.__class__("b", "binary", 30, (0.3,) * 30, 1.0, 1))
    assert PCD(small, NoGuide(small)).validate(DATA).by == "exact"
    bits = Sequences(np.zeros((2, 30), np.uint8), np.ones(2, int))
    found = PCD(large, NoGuide(large)).validate(bits)
    assert found.by == "pseudo-likelihood"
    assert found.numbers == {"pseudo_nats_per_frame": found.score}


@pytest.mark.parametrize("objective", [ELBO, ML, RLOO])
def test_a_model_without_a_normaliser_is_refused_by_bounds(objective):
    model = RBM(INFO)
    with pytest.raises(CompatibilityError, match=r"RBM has an unnormalised density.*\n.*pcd"):
        compat.check(model, NoGuide(model), objective)


def test_a_model_with_latents_is_refused():
    model = SBN(INFO)
    with pytest.raises(CompatibilityError, match="SBN has a normalised density; PCD on SBN needs"):
        compat.check(model, LayeredBernoulli(model), PCD)


def values(tiny, **options):
    """A configuration of a run on ragged bits."""
    found = tiny_values(tiny, averaging=0.5)
    found["model"] |= {"name": "rbm"}
    return {**found, "objective": {"name": "pcd", "particles": 7, **options}}


@pytest.mark.parametrize("options", [{}, {"start": "random", "steps": 2}])
def test_killed_and_resumed(tiny, tmp_path, options):
    config = resolve(values(tiny, **options))
    run = fit_config(config, tmp_path / "whole")
    assert run.chosen_by == "exact"
    with pytest.raises(Killed):
        fit_config(config, tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    assert "valid_nats_per_frame" in metrics(tmp_path / "whole")[-1]


def test_two_processes_have_chains_of_their_own(tiny, tmp_path):
    given = values(tiny)
    given["fit"] |= {"devices": 2, "device": "cpu"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert together(fit_or_resume, given, whole) == [True, True]
    first, second = checkpoint.read_state(RunFolder.open(whole).latest())["own"]
    assert first["chains"]["x"].shape == second["chains"]["x"].shape == (7, 1, 6)
    assert not torch.equal(first["chains"]["x"], second["chains"]["x"])
    shutil.copytree(whole, killed)
    shutil.rmtree(RunFolder.open(killed).checkpoint(12))
    together(fit_or_resume, None, killed)
    assert_same_run(whole, killed)


def test_the_commands(tiny, tmp_path, cli):
    out = tmp_path / "run"
    sizes = ("--set", "model.hidden_dim=3", "--steps", 5, "--batch-size", 8)
    said = cli("fit", "--model", "rbm", "--data", tiny, "--out", out, *sizes)
    assert said.code == 0, said.err
    assert "The density is unnormalised" in said.out
    exact = json.loads(cli("evaluate", out, "--json").out)
    assert exact["estimator"] == "exact"
    assert exact["floors"]
    given = ("--estimator", "ais", "--temperatures", 50, "--chains", 200)
    found = json.loads(cli("evaluate", out, *given, "--json").out)
    assert found["nats_per_frame"] == pytest.approx(exact["nats_per_frame"], abs=0.05)
    assert found["upper_nats_per_frame"] == pytest.approx(exact["nats_per_frame"], abs=0.05)
    assert "lower bound by reverse annealing" in cli("evaluate", out, *given).out
    assert cli("sample", out, "--num", 4, "--out", tmp_path / "x.npz").code == 0
    assert cli("report", out).code == 0
    for command in ("predict", "check"):
        said = cli(command, out)
        assert (said.code, "sample and report show what there is" in said.err) == (2, True), said
    assert cli("evaluate", out, "--particles", 3).code == 2


def test_every_tenth_step_is_measured():
    objective = PCD(RBM(INFO, hidden_dim=2), NoGuide(RBM(INFO, hidden_dim=2)))
    assert [objective.health.due() for _ in range(21)] == [True, *[False] * 9] * 2 + [True]
