"""Warnings of a training are shown, kept with the run through kill and resume, and reported."""

import warnings

import numpy as np
import pytest

from killing import Killed, Killer
from pyrodgm.errors import ChainWarning
from pyrodgm.report import write_report
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import resolve


def config(tmp_path, step_size):
    """Chains of real numbers, which hardly move by a small step."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "rows.npz",
        **{split: rng.normal(size=(20, 2)) for split in ("train", "valid", "test")},
    )
    return resolve({
        "model": {"name": "random-field", "hidden_dim": 4},
        "objective": {"name": "pcd", "particles": 7, "step_size": step_size},
        "data": {"source": str(tmp_path / "rows.npz")},
        "fit": {"steps": 12, "evaluate_every": 5, "batch_size": 8},
    })  # fmt: skip


def test_the_last_warning_of_a_kind_is_kept(tmp_path):
    with pytest.warns(ChainWarning, match="hardly move") as shown:
        run = fit_config(config(tmp_path, 1e-12), tmp_path / "run")
    of_chains = [each for each in shown if each.category is ChainWarning]
    assert len(of_chains) == 3  # at steps 5, 10 and 12
    ((step, words),) = run.training_warnings
    assert step == 12
    assert words == str(of_chains[-1].message)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChainWarning)
        page = write_report(Run.load(tmp_path / "run"), with_check=False)
    assert f"Step 12: {words}." in page.read_text(encoding="utf-8")


def test_chains_that_move_leave_none(tmp_path):
    run = fit_config(config(tmp_path, 0.1), tmp_path / "run")
    assert run.training_warnings == []


def test_a_killed_run_keeps_them(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChainWarning)
        with pytest.raises(Killed):
            fit_config(config(tmp_path, 1e-12), tmp_path / "run", Killer(7))
    with pytest.warns(ChainWarning, match="hardly move"):
        run = resume(tmp_path / "run")
    assert [step for step, _ in run.training_warnings] == [12]
