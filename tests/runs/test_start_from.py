"""A run that starts from the weights of another one."""

import shutil

import pytest
import torch

from pyrodgm import Run
from pyrodgm.errors import CheckpointError, RunFolderError
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from tiny import tiny_values

STILL = 1e-30  # a learning rate that changes no weight


@pytest.fixture(params=[0.0, 0.9], ids=["last", "averaged"])
def first(tiny, tmp_path, request):
    """The values of a run and its folder."""
    values = {**tiny_values(tiny), "objective": {"name": "rloo-local"}}
    values["fit"] |= {"averaging": request.param, "lr": 0.1}
    fit_config(resolve(values), tmp_path / "first")
    return values, tmp_path / "first"


def weights(run):
    return {**run.model.state_dict(prefix="p."), **run.guide.state_dict(prefix="q.")}


def test_model_and_guide_have_the_weights_of_the_other_run(first, tmp_path):
    values, folder = first
    values["objective"] = {"name": "nvil"}  # which has parameters of its own
    values["fit"] |= {"start_from": str(folder), "lr": STILL, "steps": 1, "seed": 5}
    run = fit_config(resolve(values), tmp_path / "second")
    before = weights(Run.load(folder))
    assert before.keys() == weights(run).keys()
    for name, value in weights(run).items():
        torch.testing.assert_close(value, before[name], msg=name)
    fresh = dict(values, fit={k: v for k, v in values["fit"].items() if k != "start_from"})
    other = weights(fit_config(resolve(fresh), tmp_path / "third"))
    assert any(not torch.equal(other[name], value) for name, value in before.items())


def test_other_sizes_and_missing_runs_are_refused_before_anything_is_written(first, tmp_path):
    values, folder = first
    values["fit"] |= {"start_from": str(folder)}
    larger = dict(values, model={**values["model"], "hidden_dim": 17})
    with pytest.raises(CheckpointError, match="of another shape"):
        fit_config(resolve(larger), tmp_path / "second")
    values["fit"] |= {"start_from": str(tmp_path / "nowhere")}
    with pytest.raises(RunFolderError, match="nowhere"):
        fit_config(resolve(values), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_resumed_run_does_not_need_the_other_one(first, tmp_path):
    values, folder = first
    values["fit"] |= {"start_from": str(folder), "steps": 4}
    whole = fit_config(resolve(values), tmp_path / "whole")
    fit_config(resolve(dict(values, fit={**values["fit"], "steps": 2})), tmp_path / "part")
    shutil.rmtree(folder)
    again = resume(tmp_path / "part", steps=4)
    for name, value in weights(again).items():
        assert torch.equal(value, weights(whole)[name])
