"""A run that was killed and resumed equals, bit for bit, one that was never killed."""

import dataclasses
import json
import random
import shutil
import signal
import time

import numpy as np
import pyro
import pytest
import torch
from safetensors.torch import load_file, save_file

from killing import Killed, Killer, assert_same_run, contents
from processes import started, wait_for
from pyrodgm.data import ragged as ragged_files
from pyrodgm.data.info import SPLITS
from pyrodgm.data.local import content_sha256
from pyrodgm.errors import (
    ChangedWarning,
    CheckpointError,
    DataError,
    Interrupted,
    RunFolderError,
)
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import NVIL, RLOO
from pyrodgm.runs import fitting
from pyrodgm.runs.fitting import fit, fit_config, resume
from pyrodgm.runs.loading import is_own
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import resolve
from pyrodgm.storage import checkpoint
from pyrodgm.storage.files import alone
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train import recorder
from pyrodgm.train.recorder import Recorder
from tiny import ragged, tiny_values

OBJECTIVES = {
    "rloo": {},
    "nvil": {},
    "rws": {},
    "fivo": {},
    "concrete": {"temperature": "linear:1:0.5:9", "kl_weight": "linear:0:1:9"},
    "tracegraph-elbo": {"baseline": "decaying-average"},
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def whole(request, tmp_path_factory):
    """What a run is made of, and one that was never killed."""
    folder = tmp_path_factory.mktemp("whole")
    np.savez(folder / "tiny.npz", **ragged())
    objective = {"name": request.param, **OBJECTIVES[request.param]}
    values = {**tiny_values(folder / "tiny.npz"), "objective": objective}
    fit_config(resolve(values), folder / "run")
    return values, folder / "run"


@pytest.mark.parametrize("step", [3, 6, 10])
def test_killed_after_a_step(whole, tmp_path, step):
    values, expected = whole
    with pytest.raises(Killed):
        fit_config(resolve(values), tmp_path / "killed", Killer(step))
    run = resume(tmp_path / "killed")
    assert run.steps == 12
    assert_same_run(expected, tmp_path / "killed")


@pytest.mark.parametrize(
    ("moment", "call"),
    [
        *(("pyrodgm.train.recorder.checkpoint.write", call) for call in (1, 2, 3)),
        ("pyrodgm.storage.folder.RunFolder.mark_best", 1),
        *(("pyrodgm.storage.folder.RunFolder.prune", call) for call in (1, 2, 3)),
        *(("pyrodgm.train.recorder.Recorder._report", call) for call in (1, 2, 3)),
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_an_awkward_moment(tiny, tmp_path, fitted, monkeypatch, moment, after, call):
    with monkeypatch.context() as patched:
        kill_at(patched, moment, call, after)
        with pytest.raises(Killed):
            fit_config(resolve(tiny_values(tiny)), tmp_path / "killed")
    resume(tmp_path / "killed")
    assert_same_run(fitted, tmp_path / "killed")


def kill_at(patched, moment, call, after):
    """Kill right before or after the given call of a function."""
    owner_name, _, name = moment.rpartition(".")
    owner = {"RunFolder": RunFolder, "Recorder": Recorder}.get(
        owner_name.rpartition(".")[2], checkpoint
    )
    original, calls = getattr(owner, name), []

    def killing(*arguments, **options):
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        original(*arguments, **options)
        if len(calls) == call:
            raise Killed

    patched.setattr(owner, name, killing)


def test_killed_by_the_system_at_a_random_moment(tiny, tmp_path):
    words = ["fit", "--data", tiny, "--set", "model.hidden_dim=3", "--steps", 250]
    words += ["--set", "fit.evaluate_every=25", "--set", "fit.patience=1000", "--device", "cpu"]
    words += ["--out", tmp_path / "killed"]
    with started(*words, out=tmp_path / "out", err=tmp_path / "err") as process:
        wait_for(process, lambda: list(tmp_path.glob("killed/checkpoints/step-*")))
        time.sleep(random.SystemRandom().uniform(0, 0.3))
    assert process.exitcode == -signal.SIGKILL
    stopped_at = RunFolder.open(tmp_path / "killed").latest().name
    assert stopped_at < "step-00000250"
    resume(tmp_path / "killed")
    values = tiny_values(tiny, steps=250, evaluate_every=25, patience=1000, batch_size=16)
    fit_config(resolve(values), tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_to_continue_from(tiny, tmp_path, fitted, number):
    class Interrupter(Killer):
        def on_progress(self, progress):
            if progress.step == self.step:
                signal.raise_signal(number)

    with pytest.raises(Interrupted, match=r"stopped after step 7; .*pyrodgm fit --resume"):
        fit_config(resolve(tiny_values(tiny)), tmp_path / "stopped", Interrupter(7))
    assert RunFolder.open(tmp_path / "stopped").latest().name == "step-00000007"
    resume(tmp_path / "stopped")
    assert_same_run(fitted, tmp_path / "stopped")


def test_a_second_signal_acts_at_once(tiny, tmp_path):
    class Impatient(Killer):
        def on_progress(self, progress):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit_config(resolve(tiny_values(tiny)), tmp_path / "run", Impatient(1))
    assert signal.getsignal(signal.SIGINT) is before
    assert not RunFolder.open(tmp_path / "run").has_checkpoint()


def test_a_finished_run_stays_as_it_is(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    before = contents(tmp_path / "run")
    assert resume(tmp_path / "run").steps == 12
    assert contents(tmp_path / "run") == before


def test_a_run_that_stopped_early_stays_as_it_is(tiny, tmp_path):
    values = tiny_values(tiny, steps=500, evaluate_every=2, patience=2, lr=0.5)
    values["fit"]["lr_schedule"] = "plateau"
    stopped = fit_config(resolve(values), tmp_path / "run").steps
    assert stopped < 500
    before = contents(tmp_path / "run")
    assert resume(tmp_path / "run").steps == stopped
    assert contents(tmp_path / "run") == before
    assert resume(tmp_path / "run", patience=500, steps=stopped + 4).steps == stopped + 4


def test_it_is_said_that_rates_that_fall_follow_the_new_length(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny, lr_schedule="linear")), tmp_path / "run")
    assert resume(tmp_path / "run", steps=12).steps == 12
    with pytest.warns(
        ChangedWarning, match=r"fit\.steps changed, and fit\.lr_schedule is 'linear'"
    ):
        assert resume(tmp_path / "run", steps=14).steps == 14


def test_more_steps_end_where_a_longer_run_ends(tiny, tmp_path):
    rate = {"lr_schedule": "plateau"}  # others follow the share of the steps
    fit_config(resolve(tiny_values(tiny, steps=20, **rate)), tmp_path / "whole")
    fit_config(resolve(tiny_values(tiny, steps=12, **rate)), tmp_path / "longer")
    resume(tmp_path / "longer", steps=20)
    whole, longer = contents(tmp_path / "whole"), contents(tmp_path / "longer")
    extra = [line for line in longer["metrics"] if line["step"] == 12]
    assert len(extra) == 1
    longer["metrics"].remove(extra[0])
    assert whole == longer


def test_a_full_disk_in_a_checkpoint_costs_only_the_steps_since_the_last(
    tiny, tmp_path, fitted, monkeypatch
):
    original = checkpoint.save_file

    def full(tensors, path):
        if "step-00000010" in str(path):
            raise OSError(28, "No space left on device")
        original(tensors, path)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save_file", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            fit_config(resolve(tiny_values(tiny)), tmp_path / "full")
    assert RunFolder.open(tmp_path / "full").latest().name == "step-00000005"
    resume(tmp_path / "full")
    assert_same_run(fitted, tmp_path / "full")


def test_from_a_damaged_checkpoint_one_can_go_back_to_the_one_before(tiny, tmp_path, fitted):
    shutil.copytree(fitted, tmp_path / "hurt")
    newest = RunFolder.open(tmp_path / "hurt").latest()
    (newest / checkpoint.STATE).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="Remove that folder"):
        resume(tmp_path / "hurt")
    shutil.rmtree(newest)
    resume(tmp_path / "hurt")
    assert_same_run(fitted, tmp_path / "hurt")


def test_what_would_make_it_another_run_is_refused(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"fit\.lr, fit\.seed cannot change"):
        resume(tmp_path / "run", lr=0.1, seed=3, steps=50)


def test_other_data_under_the_same_name_is_refused(save_data, tmp_path):
    data = save_data()
    fit_config(resolve(tiny_values(data)), tmp_path / "run")
    save_data(**ragged(train=25))
    with pytest.raises(DataError, match="has changed since the run began"):
        resume(tmp_path / "run")


def test_other_data_is_refused_before_the_first_checkpoint_too(save_data, tmp_path):
    data = save_data()
    with pytest.raises(Killed):
        fit_config(resolve(tiny_values(data, evaluate_every=100)), tmp_path / "run", Killer(2))
    folder = RunFolder.open(tmp_path / "run")
    assert folder.environment.is_file()
    assert not folder.has_checkpoint()
    save_data(**ragged(train=25))
    with pytest.raises(DataError, match="has changed since the run began"):
        resume(tmp_path / "run")


def test_a_run_continues_whose_digests_are_of_values_alone(save_data, tmp_path):
    """Those of folders from before 2026-11-29; other conditions are found since."""
    rng = np.random.default_rng(0)
    arrays = ragged()
    beside = {f"{s}_conditions": rng.normal(size=(len(arrays[s]), 1)) for s in SPLITS}
    values = tiny_values(save_data(**arrays, **beside))
    fit_config(resolve(values), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    splits = ragged_files.read(values["data"]["source"])
    facts = json.loads(folder.environment.read_text())
    for name, part in splits.items():
        assert facts["data_splits"][name]["sha256"] == content_sha256(part)
        facts["data_splits"][name]["sha256"] = content_sha256(part, beside=False)
    assert is_own(folder, splits)
    other = dataclasses.replace(splits, train=splits.train.conditioned(splits.train.conditions + 1))
    assert not is_own(folder, other)
    folder.environment.write_text(json.dumps(facts))
    assert resume(tmp_path / "run").steps == 12


def test_a_run_of_python_objects_continues_too(tiny, tmp_path):
    splits = ragged_files.read(tiny)

    def objective():
        pyro.set_rng_seed(0)
        model = TSBN(splits.info, hidden_dim=3)
        return NVIL(model, RecurrentBernoulli(model))

    options = {"steps": 12, "evaluate_every": 5, "batch_size": 8}
    fit(objective(), splits, out=tmp_path / "whole", **options)
    with pytest.raises(Killed):
        fit(objective(), splits, out=tmp_path / "killed", watcher=Killer(8), **options)
    with pytest.raises(RunFolderError, match="fitted from Python objects"):
        resume(tmp_path / "killed")
    again = tmp_path / "killed"
    for sha256, match in (
        ("", "has changed since the run"),
        (splits.sha256, "it was split or read"),
    ):
        other = dataclasses.replace(splits, sha256=sha256, train=splits.valid)
        with pytest.raises(DataError, match=match):
            resume(again, objective=objective(), splits=other)
    with pytest.raises(RunFolderError, match="fitted with the objective NVIL, but RLOO was given"):
        resume(again, objective=RLOO(objective().model, objective().guide), splits=splits)
    resume(again, objective=objective(), splits=splits)
    assert_same_run(tmp_path / "whole", again)


def test_a_long_way_between_evaluations_has_checkpoints_too(tiny, tmp_path, monkeypatch):
    fit_config(resolve(tiny_values(tiny, evaluate_every=100)), tmp_path / "whole")
    monkeypatch.setattr(recorder, "CHECKPOINT_EVERY", 0.0)
    with pytest.raises(Killed):
        fit_config(resolve(tiny_values(tiny, evaluate_every=100)), tmp_path / "killed", Killer(8))
    assert RunFolder.open(tmp_path / "killed").latest().name == "step-00000007"
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_damaged_best_checkpoint_is_done_without(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny, steps=15, lr_schedule="plateau")), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    folder.mark_best(10)
    (folder.checkpoint(10) / checkpoint.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"step-00000010.*Remove that folder"):
        Run.load(tmp_path / "run")
    shutil.rmtree(folder.checkpoint(10))
    assert Run.load(tmp_path / "run").steps == 15
    longer = resume(tmp_path / "run", steps=30)
    assert folder.best().name > "step-00000010"
    assert longer.evaluate() == Run.load(tmp_path / "run").evaluate()


def test_one_process_at_a_time_trains_in_a_folder(tiny, tmp_path):
    values = resolve(tiny_values(tiny))

    class Meddler(Killer):
        def on_progress(self, progress):
            if progress.step == 2:
                with pytest.raises(RunFolderError, match="another process is training in"):
                    resume(tmp_path / "run")

    fit_config(values, tmp_path / "run", Meddler(0))
    resume(tmp_path / "run")


def stored(folder):
    """Every byte of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_refused_has_written_nothing(tiny, tmp_path):
    """Neither beside a training, nor where the newest checkpoint turns out to be damaged."""
    fit_config(resolve(tiny_values(tiny, lr_schedule="plateau")), tmp_path / "run")
    before = stored(tmp_path / "run")
    with alone(tmp_path / "run"), pytest.raises(RunFolderError, match="another process is"):
        resume(tmp_path / "run", steps=10)
    assert stored(tmp_path / "run") == before
    newest = RunFolder.open(tmp_path / "run").latest()
    (newest / checkpoint.WEIGHTS).write_bytes(b"nothing")
    before = stored(tmp_path / "run")
    with pytest.raises(CheckpointError, match="Remove that folder"):
        resume(tmp_path / "run", steps=10)
    assert stored(tmp_path / "run") == before


def test_two_that_find_a_place_free_do_not_share_it(tiny, tmp_path, monkeypatch):
    fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    before = stored(tmp_path / "run")
    monkeypatch.setattr(RunFolder, "check_free", staticmethod(lambda _: None))
    with pytest.raises(RunFolderError, match="another run has begun"):
        fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    assert stored(tmp_path / "run") == before


def test_ctrl_c_while_the_end_is_evaluated_is_not_forgotten(tiny, tmp_path, fitted):
    class Late(Killer):
        def on_evaluation(self, step, *_):
            if step == 12:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="training has ended"):
        fit_config(resolve(tiny_values(tiny)), tmp_path / "late", Late(0))
    assert_same_run(fitted, tmp_path / "late")


def test_a_checkpoint_of_an_older_version_says_which_one_reads_it(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    environment = json.loads(folder.environment.read_text())
    environment["versions"]["pyrodgm"] = "0.1.0"
    folder.environment.write_text(json.dumps(environment))
    for path in folder.checkpoints.iterdir():
        state = checkpoint.read_state(path)
        del state["own"]
        torch.save(state, path / checkpoint.STATE)
    for ask in (Run.load, resume):
        with pytest.raises(CheckpointError, match=r"written by pyrodgm 0\.1\.0; use that version"):
            ask(tmp_path / "run")


def test_weights_with_other_names_say_which_version_reads_them_and_what_differs(tiny, tmp_path):
    fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    for path in folder.checkpoints.iterdir():
        weights = load_file(path / checkpoint.WEIGHTS)
        names = {name: name.replace("bias", "offset") for name in weights}
        save_file({names[k]: v for k, v in weights.items()}, path / checkpoint.WEIGHTS)
    message = r"only in the checkpoint: .*offset.*; missing from it: .*bias"
    for ask in (Run.load, resume):
        with pytest.raises(CheckpointError, match=message):
            ask(tmp_path / "run")
    environment = json.loads(folder.environment.read_text())
    environment["versions"]["pyrodgm"] = "0.1.9"
    folder.environment.write_text(json.dumps(environment))
    for ask in (Run.load, resume):
        with pytest.raises(CheckpointError, match=r"written by pyrodgm 0\.1\.9; use that version"):
            ask(tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="not a run folder"):
        fitting.resume(tmp_path)


def test_other_options_of_the_same_classes_are_noticed(tiny, tmp_path):
    splits = ragged_files.read(tiny)

    def built(samples=2, **options):
        model = TSBN(splits.info, hidden_dim=3, **options)
        return RLOO(model, RecurrentBernoulli(model), particles=samples)

    run = tmp_path / "run"
    fit(built(), splits, out=run, steps=2)
    with pytest.warns(ChangedWarning, match=r"the model of .* init_scale=0\.01, and 0\.1 "):
        Run.load(run, splits, objective=built(init_scale=0.1))
    with pytest.warns(ChangedWarning, match=r"the objective of .* particles=2, and 3 was given"):
        resume(run, objective=built(samples=3), splits=splits, steps=3)
    resume(run, objective=built(init_scale=0.01), splits=splits, steps=4)
