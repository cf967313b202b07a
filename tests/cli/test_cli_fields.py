"""Commands on a random field over sequences and its noise."""

import json

import numpy as np


def test_a_field_over_sequences_is_fitted_evaluated_compared_and_drawn_from(cli, tiny, tmp_path):
    run = tmp_path / "run"
    words = ("--set", "model.hidden_dim=[4,4]", "--set", "objective.noise_steps=4")
    given = ("--data", tiny, "--steps", 12, "--out", run, *words)
    said = cli("fit", "--model", "sequence-field", "--guide", "rnn", "--objective", "dnce", *given)
    assert said.code == 0, said.err
    assert "above noise nats per example" in said.out
    said = cli("evaluate", run, "--particles", 40)
    assert "upper bound by 40 draws of the noise" in said.out
    assert "noise alone, RNNGuide" in said.out
    assert "k-hat of the weights" in said.out
    found = json.loads(cli("evaluate", run, "--particles", 40, "--json").out)
    assert (found["estimator"], found["particles"]) == ("importance", 40)
    difference = found["nats_per_example"] - found["noise"]["nats_per_example"]
    assert abs(found["above_noise_nats_per_example"] - difference) < 1e-6
    table = tmp_path / "each.csv"
    assert cli("evaluate", run, "--per-sequence", table).code == 0
    assert table.read_text().count("importance") == 6
    said = cli("evaluate", run, "--temperatures", 5)
    assert (said.code, "log Z is estimated by draws of the guide" in said.err) == (2, True)
    assert cli("sample", run, "--num", 3, "--length", 4, "--out", tmp_path / "x.npz").code == 0
    with np.load(tmp_path / "x.npz") as drawn:
        assert drawn["x"].shape == (12, 6) or drawn["x"].shape == (3, 4, 6)
    said = cli("predict", run)
    assert (said.code, "SequenceField" in said.err) == (2, True)


def test_fields_with_an_exact_normaliser_are_ranked_by_paired_differences(cli, tiny, tmp_path):
    runs = [tmp_path / name for name in ("short", "long", "nade")]
    field = ("--model", "rbm", "--set", "model.hidden_dim=4", "--objective", "cd")
    for run, words in zip(runs[:2], ((*field, "--steps", 2), (*field, "--steps", 40)), strict=True):
        assert cli("fit", "--data", tiny, "--out", run, *words).code == 0
    assert cli("fit", "--data", tiny, "--out", runs[2], "--model", "nade", "--steps", 2).code == 0
    ranked = json.loads(cli("compare", *runs, "--json").out)["runs"]
    each = {str(run): json.loads(cli("evaluate", run, "--json").out) for run in runs}
    best = ranked[0]["nats_per_example"]
    for row in ranked:
        assert row["estimator"] == "exact"
        assert abs(row["nats_per_example"] - each[row["run"]]["nats_per_example"]) < 1e-5
        below = best - row["nats_per_example"]
        assert abs(row["nats_per_example_below_best"] - below) < 1e-5
        assert (row["standard_error_of_difference"] > 0) == (below > 0)
    said = cli("evaluate", runs[0], "--chains", 3)
    assert (said.code, "--chains: log Z is exact" in said.err) == (2, True)
    annealed = cli("evaluate", runs[0], "--estimator", "ais", "--chains", 3, "--temperatures", 5)
    assert annealed.code == 0
