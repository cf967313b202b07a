"""Several trainings from different starts, of which the best is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from pyrodgm.errors import RunFolderError, UsageError
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import TINY_FIT, metrics, ragged, tiny_values


def evaluations(run):
    """The lines of evaluations on validation."""
    return [line for line in metrics(run) if "best" in line]


def scores(run, restart=None):
    """Their scores in the order of steps, of one start or of all."""
    found = [line for line in evaluations(run) if restart in (None, line.get("restart"))]
    return [line["valid_nats_per_frame"] for line in found]


def test_a_restart_is_the_training_of_the_next_seed(tiny, tmp_path):
    whole = tmp_path / "whole"
    fit_config(resolve(tiny_values(tiny, restarts=3, seed=4)), whole)
    for restart in range(3):
        alone = tmp_path / str(restart)
        fit_config(resolve(tiny_values(tiny, seed=4 + restart)), alone)
        assert scores(whole, restart) == scores(alone)


@pytest.mark.parametrize("lr", [0.01, 1.0])
def test_the_best_of_all_evaluations_is_kept(tiny, tmp_path, lr):
    """At a rate of 1 scores fall: the best is then an early one."""
    values = tiny_values(tiny, restarts=3, lr=lr, averaging=0.0)
    values["objective"] = {"name": "rloo-local"}
    run = fit_config(resolve(values), tmp_path / "run")
    assert run.steps == 36
    best = max(evaluations(tmp_path / "run"), key=lambda line: line["valid_nats_per_frame"])
    assert run.folder.best().name == f"step-{best['step']:08d}"
    kept = run.evaluate("valid", seed=best["restart"])
    assert kept.nats_per_frame == pytest.approx(best["valid_nats_per_frame"], rel=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three starts, of which none was killed."""
    folder = tmp_path_factory.mktemp("whole")
    np.savez(folder / "tiny.npz", **ragged())
    fit_config(resolve(tiny_values(folder / "tiny.npz", restarts=3)), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("step", [3, 12, 13, 25, 36])
def test_killed_in_any_start(tiny, tmp_path, whole, step):
    values = resolve(tiny_values(tiny, restarts=3))
    with pytest.raises(Killed):
        fit_config(values, tmp_path / "killed", Killer(step))
    assert resume(tmp_path / "killed").steps == 36
    assert_same_run(whole, tmp_path / "killed")


def test_every_start_waits_with_a_patience_of_its_own(tiny, tmp_path):
    fit = {"restarts": 2, "patience": 1, "lr": 1.0, "averaging": 0.0, "steps": 60}
    fit_config(resolve(tiny_values(tiny, **fit)), tmp_path / "run")
    for restart in range(2):
        found = scores(tmp_path / "run", restart)
        assert 2 <= len(found) < 12
        assert found[-1] < max(found[:-1])


def test_time_is_shared(tiny, tmp_path):
    fit = {"restarts": 3, "time_limit": 1.5, "steps": 100_000, "evaluate_every": 20}
    fit_config(resolve(tiny_values(tiny, **fit)), tmp_path / "run")
    lines = metrics(tmp_path / "run")
    ends = [max(line["seconds"] for line in lines if line["restart"] == r) for r in range(3)]
    assert ends[0] >= 0.5
    assert ends[1] - ends[0] >= (1.5 - ends[0]) / 2 - 0.3
    assert {line["restart"] for line in lines} == {0, 1, 2}


def test_python_gives_a_function_that_builds(tiny):
    splits = dgm.data.load(str(tiny))

    def build():
        model = dgm.models.TSBN(splits.info, hidden_dim=3)
        guide = dgm.guides.RecurrentBernoulli(model)
        return dgm.objectives.RLOO(model, guide)

    state = torch.get_rng_state()
    run = dgm.fit(build, splits, restarts=2, seed=1, **TINY_FIT)
    assert torch.equal(torch.get_rng_state(), state)
    alone = dgm.fit(build, splits, seed=2, **TINY_FIT)
    assert scores(run.folder.path, 1) == scores(alone.folder.path)
    with pytest.raises(UsageError, match="give a function that builds one"):
        dgm.fit(build(), splits, restarts=2, **TINY_FIT)


def test_what_would_end_earlier_starts_elsewhere_is_refused(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny, restarts=2)), tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"fit\.steps cannot change with several"):
        resume(tmp_path / "run", steps=50)
