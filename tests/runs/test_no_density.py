"""A whole run without any density: fitted, chosen, killed, resumed, by one process and by two."""

import json
import shutil
from functools import partial

import pytest
import torch
from adversarial import (
    Adversarial,
    Chosen,
    adversarial,
    fit_or_resume,
    points,
    ragged_points,
)
from safetensors.torch import load_file

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from processes import together
from pyrodgm.errors import UsageError
from pyrodgm.report import write_report
from pyrodgm.runs.check import check
from pyrodgm.runs.comparing import by_validation
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from pyrodgm_cli.text import print_fit
from tiny import metrics

OPTIONS = {"steps": 12, "evaluate_every": 5, "batch_size": 8, "device": "cpu"}


@pytest.mark.parametrize("step", [3, 7, 10])
@pytest.mark.parametrize("data", [points, ragged_points])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, data, step):
    splits = data()
    dgm.fit(adversarial(splits), splits, out=tmp_path / "whole", **OPTIONS)
    with pytest.raises(Killed):
        dgm.fit(
            adversarial(splits), splits, out=tmp_path / "killed", watcher=Killer(step), **OPTIONS
        )
    run = dgm.resume(tmp_path / "killed", objective=adversarial(splits), splits=splits)
    assert run.steps == 12
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_where_nothing_chooses_the_last_weights_are_kept(tmp_path):
    splits = points()
    made = adversarial(splits)
    run = dgm.fit(made, splits, out=tmp_path / "run", patience=1, **OPTIONS)
    assert run.folder.best() == run.folder.latest() == run.folder.checkpoint(12)
    evaluations = [line for line in metrics(tmp_path / "run") if "best" in line]
    assert [line["step"] for line in evaluations] == [5, 10, 12]
    assert {line["chosen_by"] for line in evaluations} == {"nothing"}
    again = dgm.Run.load(tmp_path / "run", splits, objective=adversarial(splits))
    assert torch.equal(again.model.shift, run.model.shift)


def test_a_score_of_its_own_chooses(tmp_path):
    splits = points()
    options = {**OPTIONS, "steps": 60, "lr": 0.5, "averaging": 0.0, "lr_decay": 0.5}
    run = dgm.fit(adversarial(splits, Chosen), splits, out=tmp_path / "run", **options)
    evaluations = [line for line in metrics(tmp_path / "run") if "best" in line]
    best = min(evaluations, key=lambda line: line["valid_distance_of_means"])
    assert run.folder.best() == run.folder.checkpoint(best["step"])
    assert best["chosen_by"] == "distance of means"


def test_a_checkpoint_holds_the_objective_once(tmp_path):
    """The critic once, model and guide twice: in training and averaged."""
    splits = points()
    run = dgm.fit(adversarial(splits), splits, out=tmp_path / "run", **OPTIONS)
    names = load_file(run.folder.latest() / checkpoint.WEIGHTS).keys()
    assert [name for name in names if "shift" in name] == [
        "averaged.model.shift",
        "objective.model.shift",
    ]
    assert all(name.startswith("objective.") for name in names if "critic" in name)
    assert not any("rows" in name or "chains" in name for name in names)


def test_two_processes_share_averages_and_keep_rows_and_chains_apart(tmp_path):
    said = together(fit_or_resume, tmp_path / "whole", {**OPTIONS, "devices": 2})
    (equal, first), (_, second) = said
    assert equal
    # Every row was written on one process, and on that one alone.
    assert all(one != other for one, other in zip(first, second, strict=True))
    state = checkpoint.read_state(RunFolder.open(tmp_path / "whole").latest())
    first, second = state["own"]
    assert not torch.equal(first["chains"]["x"], second["chains"]["x"])
    assert set(first["rows"]["rows"].tolist()).isdisjoint(second["rows"]["rows"].tolist())
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    shutil.rmtree(RunFolder.open(tmp_path / "killed").checkpoint(12))
    assert together(fit_or_resume, tmp_path / "killed", {}) == said
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One that nothing chooses for, and two that a score chooses for."""
    splits, folder = points(), tmp_path_factory.mktemp("runs")
    kinds = {"none": Adversarial, "one": Chosen, "two": Chosen}
    options = {name: {**OPTIONS, "lr": 0.1 * n} for n, name in enumerate(kinds, start=1)}
    return {
        name: dgm.fit(adversarial(splits, kind), splits, out=folder / name, **options[name])
        for name, kind in kinds.items()
    }


def test_results_and_reports_say_what_was_measured(runs, tmp_path):
    results = runs["one"].results().to_dict()
    assert results["chosen_by"] == "distance of means"
    assert results["valid"].keys() == results["test"].keys() == {"distance_of_means"}
    assert results["floors"]["test"]
    assert runs["none"].results().to_dict()["valid"] == {}
    for name, words in (
        ("one", "chosen by distance of means"),
        ("none", "The weights are the last"),
    ):
        page = write_report(runs[name], tmp_path / "page.html").read_text()
        assert words in page
        assert "There is no bound on the log-likelihood" in page


def test_what_needs_a_density_is_refused_in_words(runs):
    run = runs["none"]
    exact = partial(run.evaluate, estimator="exact")
    for question in (run.evaluate, run.scores, run.scored, exact, lambda: check(run)):
        with pytest.raises(UsageError, match="Shift has no density that can be computed"):
            question()


def test_runs_are_ranked_by_a_score_in_common(runs):
    pair = {name: runs[name] for name in ("one", "two")}
    found = by_validation(pair)
    assert list(found) == sorted(pair, key=lambda name: -runs[name].validation().score)
    with pytest.raises(
        UsageError, match=r"these runs cannot be ranked.*none: nothing.*; pyrodgm report"
    ):
        by_validation(runs)
    with pytest.raises(UsageError, match="a: nothing; b: nothing"):
        by_validation({"a": runs["none"], "b": runs["none"]})


def test_commands_say_what_was_measured(runs, cli, monkeypatch):
    """The commands load runs by their classes; these here are of Python objects."""
    by_path = {run.folder.path: run for run in runs.values()}
    monkeypatch.setattr(dgm.Run, "load", lambda path, data=None: by_path[path])
    one, two = runs["one"].folder.path, runs["two"].folder.path
    said = cli("evaluate", one, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out).keys() == {"split", "chosen_by", "distance_of_means"}
    said = cli("evaluate", one)
    assert "The weights were chosen by distance of means on validation." in said.out
    assert cli("evaluate", one, "--particles", 3).code == 2
    ranked = json.loads(cli("compare", one, two, "--json").out)["runs"]
    assert [row["score"] for row in ranked] == sorted((r["score"] for r in ranked), reverse=True)
    assert "distance of means" in cli("compare", one, two).out
    assert cli("compare", runs["none"].folder.path, one).code == 2


def test_a_fit_prints_what_was_measured(runs, capsys):
    print_fit(runs["one"], as_json=False)
    assert "distance of means" in capsys.readouterr().out
    print_fit(runs["one"], as_json=True)
    assert json.loads(capsys.readouterr().out)["chosen_by"] == "distance of means"


def test_several_starts_need_a_score(tmp_path):
    splits = points()
    with pytest.raises(UsageError, match=r"the best training cannot be chosen: Adversarial\."):
        dgm.fit(lambda: adversarial(splits), splits, restarts=2, out=tmp_path / "none", **OPTIONS)
    run = dgm.fit(lambda: adversarial(splits, Chosen), splits, restarts=2, **OPTIONS)
    assert run.steps == 24
