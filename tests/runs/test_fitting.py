import gc

import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only

from pyrodgm.data import ragged as ragged_files
from pyrodgm.errors import DataError, NonFiniteError, RunFolderError, UsageError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import RLOO, Objective
from pyrodgm.runs import fitting, places
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.setup.config import resolve
from pyrodgm.storage.folder import RunFolder
from tiny import TINY_FIT, metrics, tiny_values


class Listener:
    """A watcher that remembers."""

    def __init__(self):
        self.data, self.started, self.steps, self.scores = [], [], [], []

    def on_data(self, splits):
        self.data.append(splits.info.name)

    def on_start(self, run, options, first_step, seconds):
        self.started.append((run, first_step))

    def on_progress(self, progress):
        self.steps.append(progress.step)

    def on_evaluation(self, step, valid, best):
        self.scores.append((step, valid.score, best))

    def on_end(self, reason):
        self.reason = reason


@pytest.fixture
def values(tiny):
    return {**tiny_values(tiny), "objective": {"name": "rloo-local"}}


@pytest.fixture
def splits(tiny):
    return ragged_files.read(tiny)


def test_a_watcher_hears_of_everything(values, tmp_path):
    listener = Listener()
    fit_config(resolve(values), tmp_path / "run", listener)
    assert listener.data == ["tiny"]
    assert listener.started == [(tmp_path / "run", 0)]
    assert listener.steps == list(range(1, 13))
    assert [step for step, _, _ in listener.scores] == [5, 10, 12]
    assert listener.reason == "step 12 of at most 12"


def test_the_run_keeps_the_best_of_its_evaluations(values, tmp_path):
    listener = Listener()
    values["fit"] |= {"lr": 0.3, "steps": 40}
    run = fit_config(resolve(values), tmp_path / "run", listener)
    best = max(listener.scores, key=lambda score: score[1])
    assert run.folder.best().name == f"step-{best[0]:08d}"
    assert run.evaluate("valid").nats_per_frame == pytest.approx(best[1], rel=1e-6)


def script(monkeypatch, scores):
    """Let validation come to given scores, one after the other."""
    left = [0.0, *scores]  # the first one is asked for by the dry run
    monkeypatch.setattr(Objective, "validate", lambda *_, **__: Validation("bound", left.pop(0)))


def test_a_last_evaluation_that_is_worse_is_not_taken(values, tmp_path, monkeypatch):
    script(monkeypatch, [-3.0, -2.0, -9.0])
    run = fit_config(resolve(values), tmp_path / "run")
    assert run.folder.best().name == "step-00000010"
    assert run.folder.latest().name == "step-00000012"


def test_a_last_evaluation_that_is_better_is_taken(values, tmp_path, monkeypatch):
    script(monkeypatch, [-3.0, -2.0, -1.0])
    run = fit_config(resolve(values), tmp_path / "run")
    assert run.folder.best().name == "step-00000012"


def test_patience_is_counted_in_evaluations_without_a_better_one(values, tmp_path, monkeypatch):
    scores = [-5.0, -4.0, -4.0, -4.5, -1.0]
    script(monkeypatch, scores)
    values["fit"] |= {"steps": 1000, "patience": 2}
    run = fit_config(resolve(values), tmp_path / "run")
    assert run.steps == 20
    assert run.folder.best().name == "step-00000010"


def test_rates_that_fall_are_not_cut_short(values, tmp_path, monkeypatch):
    for schedule, steps in (("plateau", 105), ("cosine", 150)):
        script(monkeypatch, [-5.0, *[-6.0] * 40])
        values["fit"] |= {"steps": 150, "lr_schedule": schedule}
        assert fit_config(resolve(values), tmp_path / schedule).steps == steps
    script(monkeypatch, [-5.0, *[-6.0] * 40])
    values["fit"] |= {"patience": 2}
    assert fit_config(resolve(values), tmp_path / "given").steps == 15


def test_metrics_hold_the_curve(values, tmp_path):
    values["fit"] |= {"steps": 60, "lr_decay": 1.0}
    fit_config(resolve(values), tmp_path / "run")
    lines = metrics(tmp_path / "run")
    (recorded,) = [line for line in lines if "elbo_nats_per_frame" in line]
    assert (recorded["step"], recorded["lr"]) == (50, 0.01)
    assert [line["step"] for line in lines if "best" in line] == list(range(5, 61, 5))
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def test_a_matrix_that_cannot_be_factored_says_what_to_do(values, tmp_path, monkeypatch):
    def broken(self, draw, past, encoded, t):
        torch.linalg.cholesky(-torch.eye(2))

    monkeypatch.setattr(TSBN, "step", broken)
    monkeypatch.setattr(fitting, "check_runs", lambda *_, **__: None)
    with pytest.raises(NonFiniteError, match=r"step 1: .*cholesky.* Lower fit\.lr"):
        fit_config(resolve(values), tmp_path / "run")


def test_training_stops_when_validation_no_longer_improves(values, tmp_path):
    values["fit"] |= {"lr": 0.5, "steps": 2000, "evaluate_every": 2, "patience": 3}
    listener = Listener()
    run = fit_config(resolve(values), tmp_path / "run", listener)
    assert run.steps < 2000
    assert [best for _, _, best in listener.scores][-3:] == [False] * 3
    assert listener.reason == "no improvement in 3 evaluations (fit.patience)"


def test_it_says_when_there_is_no_time_or_step_left(values, tmp_path):
    values["fit"] = {**values["fit"], "time_limit": 0.05}
    del values["fit"]["steps"]
    listener = Listener()
    steps = fit_config(resolve(values), tmp_path / "run", listener).steps
    assert listener.reason.endswith("s of at most 0.05")
    resume(tmp_path / "run", steps=1, watcher=listener)
    assert listener.reason == f"step {steps} of at most 1"
    assert listener.steps == list(range(1, steps + 1))


def test_the_learning_rate_decays_when_validation_waits(values, tmp_path):
    values["fit"] |= {"lr": 0.5, "steps": 200, "evaluate_every": 2, "lr_patience": 1}
    fit_config(resolve(values), tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert min(line["lr"] for line in lines if "lr" in line) < 0.5


def test_runs_get_the_next_free_folder(values, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values["fit"]["steps"] = 1
    names = [str(fit_config(resolve(values)).folder.path) for _ in range(2)]
    assert names == ["runs/tsbn-tiny-001", "runs/tsbn-tiny-002"]


def test_an_occupied_folder_is_refused_before_the_data_is_read(values, tmp_path):
    (tmp_path / "a").write_text("")
    values["data"]["source"] = "missing.npz"
    with pytest.raises(RunFolderError, match="not empty"):
        fit_config(resolve(values), tmp_path)


def test_what_is_wrong_with_the_data_leaves_no_folder(values, tmp_path):
    values["data"]["source"] = "missing.npz"
    with pytest.raises(DataError, match="there is no file"):
        fit_config(resolve(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bound_that_is_not_finite_never_becomes_a_checkpoint(values, tmp_path, monkeypatch):
    original = Objective.validate

    def poisoned(objective, *arguments, **options):
        objective.model.x_bias.bias.data.fill_(float("nan"))
        return original(objective, *arguments, **options)

    monkeypatch.setattr(Objective, "validate", poisoned)
    with pytest.raises(NonFiniteError, match="step 5: the bound on validation is nan"):
        fit_config(resolve(values), tmp_path / "run")
    assert not RunFolder.open(tmp_path / "run").has_checkpoint()


def test_tracegraph_and_unrolled_execution_fit_too(values, tmp_path):
    for objective in ({"name": "trace-elbo"}, {"name": "elbo", "execution": "unrolled"}):
        values["objective"] = objective
        assert fit_config(resolve(values), tmp_path / objective["name"]).steps == 12


@pytest.mark.parametrize("out", ["run", None])
def test_the_number_of_a_cluster_job_leaves_a_fit_in_one_process_alone(
    splits, tmp_path, monkeypatch, out
):
    """Independent fits of one job have the variables of its processes."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    model = TSBN(splits.info, hidden_dim=2)
    run = fitting.fit(RLOO(model, RecurrentBernoulli(model)), splits, out=out, **TINY_FIT)
    assert run.is_main_process
    assert (run.folder.path / "config.toml").is_file()
    del run
    gc.collect()
    kept = {"thesis.txt", "tiny.npz", *([out] if out else [])}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_several_processes_without_a_first_one_do_not_begin(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "is_first_process", lambda _: False)
    model = TSBN(splits.info, hidden_dim=2)
    with pytest.raises(UsageError, match="no process of this run is the first"):
        fitting.fit(RLOO(model, RecurrentBernoulli(model)), splits, **TINY_FIT)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.npz"]
