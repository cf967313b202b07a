"""The commands that look at runs and data: evaluate, sample, check, compare, data inspect."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pyrodgm.storage.toml import read_toml
from tiny import BOUND_FIELDS, arrays_of, ragged


def test_evaluate_prints_the_fields_of_the_contract(cli, fitted):
    result = json.loads(cli("evaluate", fitted, "--json").out)
    assert result.keys() >= BOUND_FIELDS
    assert (result["split"], result["estimator"]) == ("test", "elbo")


def test_particles_and_estimator_are_chosen(cli, fitted):
    words = ["--particles", 3, "--split", "valid", "--json"]
    assert json.loads(cli("evaluate", fitted, *words).out)["estimator"] == "iwae"
    result = json.loads(cli("evaluate", fitted, *words, "--estimator", "elbo").out)
    assert (result["estimator"], result["particles"]) == ("elbo", 3)


def test_the_table_compares_with_trivial_predictors(cli, fitted):
    said = cli("evaluate", fitted)
    assert "TSBN, 1-sample lower bound" in said.out
    assert "independent features" in said.out


def test_bounds_per_sequence_are_those_of_the_split(cli, fitted, tmp_path):
    file = tmp_path / "scores.csv"
    whole = json.loads(cli("evaluate", fitted, "--json", "--per-sequence", file).out)
    table = pd.read_csv(file)
    assert len(table) == whole["examples"]
    assert table["nats"].mean() == pytest.approx(whole["nats_per_example"])
    assert table["nats_per_frame"].mean() == pytest.approx(
        whole["nats_per_frame_sequence_weighted"]
    )
    said = cli("evaluate", fitted, "--per-sequence", tmp_path / "none" / "scores.csv")
    assert said.code == 2
    assert "there is no folder" in said.err


def test_states_of_an_hmm_and_of_nothing_else(cli, fitted, save_data, tmp_path):
    run, file = tmp_path / "run", tmp_path / "states.csv"
    data = save_data(**ragged(kind="real", dim=2))
    settings = ["--set", "model.num_states=2", "--steps", 5, "--out", run]
    assert cli("fit", "--model", "hmm", "--data", data, *settings).code == 0
    said = cli("predict", run, "--states", "--out", file)
    assert "frames (Viterbi)" in said.out
    table = pd.read_csv(file)
    assert table["sequence"].nunique() == 6
    found = json.loads(cli("predict", run, "--states", "--json").out)["states"]
    assert [row["share"] for row in found] == [float((table["state"] == c).mean()) for c in (0, 1)]
    for wrong in (["--states", "--horizon", 3], ["--states", "--samples", 3]):
        said = cli("predict", run, *wrong)
        assert said.code == 2
        assert f"takes no {wrong[1]}" in said.err
    assert "use the model hmm" in cli("predict", fitted, "--states").err


def test_other_data_of_the_same_kind_is_evaluated(cli, fitted, save_data):
    other = save_data(**ragged(train=30))
    result = json.loads(cli("evaluate", fitted, "--data", other, "--split", "train", "--json").out)
    assert result["examples"] == 30


def test_held_out_tokens_are_scored_beside_trivial_predictors(cli, save_data, tmp_path):
    rng = np.random.default_rng(0)
    parts = ("train", "valid", "test")
    counts = {name: rng.poisson(2.0, (6, 60)).astype(np.uint16) for name in parts}
    held_out = {
        f"{name}_held_out": rng.poisson(1.0, (6, 60)).astype(np.uint16) for name in parts[1:]
    }
    lengths = {f"{name}_lengths": np.array([6]) for name in parts}
    data = save_data("words.npz", **counts, **held_out, **lengths)
    it = tmp_path / "it"
    fast = ["--steps", 3, "--out", it, "--set", "model.hidden_dim=3"]
    fitted = cli("fit", "--model", "hmsbn", "--data", data, *fast)
    assert fitted.code == 0
    assert "words of the frame before" in fitted.out
    assert "nan" not in fitted.out
    found = json.loads(cli("evaluate", it, "--json").out)["held_out"]
    assert set(found) == {"guide", "weighted", "unigram", "previous frame", "same frame"}
    assert found["guide"]["next_nats"] is None
    shown = cli("evaluate", it).out
    assert f"{found['unigram']['nats']:.3f}" in shown
    assert "words of the frame before" in shown
    assert "held_out" not in json.loads(cli("evaluate", it, "--split", "train", "--json").out)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--split", "tset"], 2, "unknown split 'tset'; did you mean 'test'?"),
        (["--particles", "0"], 2, "give at least 1"),
        (["--seed", "-1"], 2, "seed is -1; give at least 0"),
        (["--data", "jbs"], 2, "unknown dataset 'jbs'"),
        (["--data", "none.npz"], 3, "there is no file"),
    ],
)
def test_evaluate_refuses(cli, fitted, words, code, part):
    said = cli("evaluate", fitted, *words)
    assert (said.code, said.out) == (code, "")
    assert part in said.err


def test_data_of_another_dimension_is_refused(cli, fitted, save_data):
    said = cli("evaluate", fitted, "--data", save_data(**ragged(dim=5)))
    assert said.code == 3
    assert "6 features per frame, but 'tiny' has 5" in said.err


@pytest.mark.parametrize("command", ["evaluate", "check", "compare", "sample"])
def test_what_is_no_run_is_refused(cli, tmp_path, command):
    words = ["--out", "x.npz"] if command == "sample" else []
    for path, part in ((tmp_path / "no", "no run folder"), (tmp_path, "not a run folder")):
        said = cli(command, path, *words)
        assert said.code == 2
        assert part in said.err


def test_a_run_without_a_checkpoint_shows_the_way_on(cli, fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    said = cli("evaluate", tmp_path / "run")
    assert said.code == 3
    assert "continue with: pyrodgm fit --resume" in said.err


def test_data_that_has_gone_is_named(cli, fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    config = tmp_path / "run" / "config.toml"
    source = read_toml(config)["data"]["source"]
    config.write_text(config.read_text().replace(source, source + ".gone.npz"))
    said = cli("evaluate", tmp_path / "run")
    assert said.code == 3
    assert ".gone.npz" in said.err


def test_compare_ranks_runs_on_the_same_data(cli, fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "copy")
    result = json.loads(cli("compare", fitted, tmp_path / "copy", "--json").out)
    assert [run["nats_per_example_below_best"] for run in result["runs"]] == [0, 0]
    assert str(fitted) in cli("compare", fitted, tmp_path / "copy").out


@pytest.mark.parametrize("words", [["sample"], ["predict", "--horizon", 2]])
def test_what_a_run_was_fitted_on_is_not_written_over(cli, fitted, words):
    data = fitted.parent / "tiny.npz"
    before = data.read_bytes()
    said = cli(words[0], fitted, *words[1:], "--out", data)
    assert said.code == 2
    assert "tiny.npz is data used by this command" in said.err
    assert data.read_bytes() == before


def test_sample_writes_a_file(cli, fitted, tmp_path):
    said = cli("sample", fitted, "--num", 2, "--length", 4, "--out", tmp_path / "x.npz")
    assert said.code == 0, said.err
    assert str(tmp_path / "x.npz") in said.out
    assert arrays_of(tmp_path / "x.npz")["x"].shape == (2, 4, 6)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--num", "0"], "give at least 1"),
        (["--out", "x.txt"], "unknown ending '.txt'"),
        (["--split", "test"], "--split is for --prefix"),
    ],
)
def test_sample_refuses(cli, fitted, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    said = cli("sample", fitted, "--out", "x.npz", *words)
    assert said.code == 2
    assert part in said.err


def test_inspect_shows_what_fits(cli, tiny):
    said = cli("data", "inspect", tiny)
    assert said.code == 0
    assert f"pyrodgm fit --model tsbn --data {tiny}" in said.out
    assert json.loads(cli("data", "inspect", tiny, "--json").out)["kind"] == "binary"


def test_inspect_shows_why_data_is_refused(cli, save_data):
    bad = save_data(**{**ragged(), "test": np.ones((28, 5))})
    said = cli("data", "inspect", bad)
    assert said.code == 3
    assert "refused: the splits differ in features" in said.out
    assert cli("data", "inspect", "jbs").code == 2
    assert json.loads(cli("data", "inspect", bad, "--json").out)["refused"]


def test_latents_are_annealed(cli, fitted, here):
    words = ["evaluate", fitted, "--estimator", "ais", "--chains", 2, "--temperatures", 3]
    shown = cli(*words, "--sequences", 3, "--simulated", 2, "--per-sequence", "rows.csv")
    assert "lower bound by annealing" in shown.out
    assert "On 2 sequences simulated from the model" in shown.out
    assert (here / "rows.csv").read_text().count(",ais\n") == 3
    found = json.loads(cli(*words, "--sequences", 3, "--simulated", 0, "--json").out)
    assert (found["estimator"], found["examples"]) == ("ais", 3)
    assert found["annealing"]["simulated"] is None
    assert found["annealing"]["temperatures"] == 3
    for wrong, said in (
        (["--particles", 5], "ais has no particles"),
        (["--chains", 0], "chains is 0"),
        (["--sequences", 0], "sequences is 0"),
    ):
        refused = cli(*words[:4], *wrong)
        assert (refused.code, said in refused.err) == (2, True)
    assert "this option is for --estimator ais" in cli("evaluate", fitted, "--start", "guide").err
