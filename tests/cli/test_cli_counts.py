"""The commands on counts whose totals are scored."""

import json

import numpy as np
import pytest

from tiny import TINY_FIT, arrays_of, ragged

STEPS = ["--steps", TINY_FIT["steps"], "--batch-size", 8]


@pytest.mark.parametrize("emission", ["poisson", "negative-binomial"])
def test_commands_take_counts_with_their_totals(emission, cli, save_data, tmp_path):
    arrays, run, out = ragged(dim=3, kind="count"), tmp_path / "run", tmp_path / "out.npz"
    gaps = arrays["test"].astype(np.float32)
    gaps[3, 2] = gaps[4] = np.nan
    data = save_data(**{**arrays, "test": gaps})
    words = ["--model", "rnn", "--data", data, "--set", "data.kind=count", "--out", run]
    said = cli("fit", *words, "--set", f"model.emission={emission}", *STEPS)
    assert said.code == 0, said.err
    assert "independent features" in said.out

    found = json.loads(cli("evaluate", run, "--json").out)
    assert found["estimator"] == "exact"
    assert set(found["floors"]) == {"independent", "previous frame"}
    found = json.loads(cli("predict", run, "--json").out)["predictions"]
    assert all(np.isfinite(each["squared_error"]) for each in found.values())
    truth = save_data("truth.npz", **{**arrays, "test": arrays["test"].astype(np.float32)})
    said = cli("predict", run, "--impute", "--truth", truth, "--samples", 9, "--out", out)
    assert said.code == 0, said.err
    assert f"filled in 4 of {gaps.size} values" in said.out
    filled, seen = arrays_of(out), ~np.isnan(gaps)
    assert np.array_equal(filled["x"][seen], gaps[seen])
    assert (filled["x"][~seen] > 0).all()
    drawn = filled["quantiles"][:, ~seen]
    assert np.array_equal(drawn, drawn.round())
