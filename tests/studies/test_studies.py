"""Studies: every run once, in processes; failures beside results; killed and continued."""

import csv
import json
import math
from pathlib import Path
from statistics import fmean, stdev

import pytest

from processes import started, wait_for
from pyrodgm.errors import UsageError
from pyrodgm.runs.run import Run
from pyrodgm.studies.outcome import Outcome
from pyrodgm.studies.runner import study
from pyrodgm.studies.summary import Study
from tiny import TINY_FIT, blank_figures, ragged


def plan(tiny, **values):
    return {
        "data": str(tiny),
        "model": {"name": "tsbn", "hidden_dim": 3},
        "seeds": [0, 1],
        "fit": dict(TINY_FIT),
        "candidate": [{"objective": "nvil"}, {"objective": "rloo"}],
        **values,
    }


def written(path, tiny, steps, lr):
    """The file of a study of two runs."""
    lines = [
        f"data = {json.dumps(str(tiny))}",
        'model = { name = "tsbn", hidden_dim = 3 }',
        f"fit = {{ steps = {steps}, evaluate_every = 5, batch_size = 8 }}",
        '[[candidate]]\nobjective = "nvil"',
        f'[[candidate]]\nobjective = "rloo"\nfit = {{ lr = {lr} }}',
    ]
    path.write_text("\n".join(lines))
    return path


def test_every_run_is_trained_once_and_candidates_are_compared(tiny, tmp_path):
    said = []
    first = study(plan(tiny), out=tmp_path / "s", processes=2, say=said.append)
    assert [(o.candidate, o.seed) for o in first.outcomes] == [
        ("nvil", 0), ("nvil", 1), ("rloo", 0), ("rloo", 1),
    ]  # fmt: skip
    assert all(o.steps == 12 and o.by == "bound" and o.test is not None for o in first.outcomes)
    assert len(said) == 4
    with (tmp_path / "s" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["5", "10", "12"] * 4
    best = max(float(r["score"]) for r in rows if (r["candidate"], r["seed"]) == ("rloo", "1"))
    assert best == first.outcomes[-1].score
    assert (tmp_path / "s" / "curves.png").stat().st_size > 10_000
    said.clear()
    with blank_figures():
        again = study(plan(tiny), out=tmp_path / "s", say=said.append)
    assert again.outcomes == first.outcomes
    assert said == ["4 runs of 4 finished before"]
    with pytest.raises(UsageError, match="holds a run of another configuration"):
        study(plan(tiny, fit={"steps": 3}), out=tmp_path / "s")


def test_finished_runs_are_evaluated_by_one_estimator_without_being_trained_again(tiny, tmp_path):
    one = [{"objective": "rloo"}]
    first = study(plan(tiny, candidate=one, seeds=[0]), out=tmp_path / "s")
    asked = {"particles": 3, "splits": ["test"]}
    found = study(plan(tiny, candidate=one, seeds=[0], evaluate=asked), out=tmp_path / "s")
    run = Run.load(tmp_path / "s" / "rloo" / "seed-0" / "run")
    assert found.outcomes[0].test == run.evaluate("test", particles=3).nats_per_frame
    assert found.outcomes[0].score == first.outcomes[0].score
    assert found.outcomes[0].seconds == first.outcomes[0].seconds
    assert "On test, it is the iwae bound with 3 draws." in found.table().notes
    both = study(
        plan(tiny, candidate=one, seeds=[0], evaluate={"particles": 2}), out=tmp_path / "s"
    )
    assert both.outcomes[0].by == "iwae bound with 2 draws"
    assert both.outcomes[0].score == run.evaluate("valid", particles=2).nats_per_frame


def test_a_run_that_fails_does_not_lose_the_others_and_sets_the_exit_code(cli, tiny, tmp_path):
    file = written(tmp_path / "s.toml", tiny, steps=12, lr=1e38)
    with blank_figures():
        said = cli("study", file, "--out", tmp_path / "s", "--processes", 2, "--json")
    assert said.code == 4
    assert "1 of 2 runs failed" in said.err
    assert "rloo, seed 0 failed: step " in said.err
    found = json.loads(said.out)
    assert [row["candidate"] for row in found["candidates"]] == ["nvil", "rloo"]
    assert found["candidates"][0]["score"] is not None
    assert found["candidates"][1]["score"] is None
    assert "saved in" in found["runs"][1]["failure"]


def test_what_does_not_fit_the_data_is_named_before_anything_is_trained(cli, tiny, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(
        f'data = {json.dumps(str(tiny))}\n[[candidate]]\n[[candidate]]\nname = "real"\n'
        'model = "lds"\nfit.steps = 1\n'
    )
    said = cli("study", file, "--out", tmp_path / "s")
    assert said.code == 3, said.err
    assert "candidate 'real': " in said.err
    assert not (tmp_path / "s").exists()


def test_a_study_that_is_killed_continues_to_the_same_result(cli, tiny, tmp_path):
    file = written(tmp_path / "s.toml", tiny, steps=100, lr=0.01)
    scores = []
    for kill in (False, True):
        out = tmp_path / f"killed-{kill}"
        words = ("study", file, "--out", out, "--processes", 2, "--json")
        if kill:
            streams = {"out": tmp_path / "out", "err": tmp_path / "err"}
            with started(*words, **streams) as process:
                wait_for(process, lambda out=out: list(out.glob("*/seed-0/run/checkpoints/step*")))
            assert len(list(out.glob("*/seed-0/result.json"))) < 2, "killed too late"
        with blank_figures():
            said = cli(*words)
        assert said.code == 0, said.err
        scores.append([run["score"] for run in json.loads(said.out)["runs"]])
    assert scores[0] == scores[1]


def test_differences_are_paired_by_seed():
    def outcomes(name, scores):
        return [Outcome(name, s, x, "bound", steps=3) for s, x in enumerate(scores)]

    failed = Outcome("c", 0, failure="step 1: the loss is nan", code=4)
    best, other = [-7.0, -6.0, -5.5], [-7.2, -6.1, -5.8]
    found = Study(Path(), (*outcomes("a", other), *outcomes("b", best), failed), {})
    first, second, last = found.rows()
    assert (first.candidate, second.candidate, last.candidate) == ("b", "a", "c")
    differences = [b - a for a, b in zip(other, best, strict=True)]
    assert second.below_best.value == pytest.approx(fmean(differences))
    assert second.below_best.error == pytest.approx(stdev(differences) / math.sqrt(3))
    assert math.isnan(last.score.value)
    assert "c, seed 0: step 1: the loss is nan" in found.table().notes


def test_scores_of_different_meaning_have_no_difference():
    pair = (Outcome("a", 0, -7.0, "bound"), Outcome("b", 0, -80.0, "pseudo-likelihood"))
    found = Study(Path(), pair, {})
    assert math.isnan(found.rows()[1].below_best.value)
    assert "a: bound; b: pseudo-likelihood" in found.table().notes[-1]


def test_a_number_of_processes_is_checked_before_anything_runs(tmp_path):
    with pytest.raises(UsageError, match="processes is -1; give at least 1"):
        study({"data": "jsb"}, out=tmp_path, processes=-1)


def test_an_estimator_that_does_not_apply_is_found_before_training(tiny, tmp_path):
    asked = {"estimator": "ais", "particles": 5}
    with pytest.raises(UsageError, match="candidate 'nvil': ais does not draw particles"):
        study(plan(tiny, evaluate=asked), out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_runs_on_data_that_has_changed_are_not_compared(save_data, tmp_path):
    data = save_data()
    study(plan(data, seeds=[0]), out=tmp_path / "s")
    save_data(**ragged(train=25))
    with pytest.raises(UsageError, match=r"the data has changed since .* was trained"):
        study(plan(data, seeds=[0, 1]), out=tmp_path / "s")
