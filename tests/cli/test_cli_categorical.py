"""Every command on categorical data: with latents and without, a symbol new to test, and gaps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pyrodgm.models import RBM
from pyrodgm.runs.fitting import fit_config
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import resolve
from tiny import TINY_FIT, arrays_of


def rolls(num: int, seed: int) -> np.ndarray:
    """A die beside a coin, of which a tenth was not seen; integers cannot be missing."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(1, 6, num), 4 * rng.integers(0, 2, num)], 1).astype(float)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


MODELS = {
    "hmm": {"name": "hmm", "num_states": 2, "start": "random"},
    "tsbn": {"name": "tsbn", "hidden_dim": 3, "history": 2},
}


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("model", MODELS)
def test_every_command_takes_symbols(model, cli, save_data, tmp_path) -> None:
    test = rolls(30, 1)
    test[3, 0] = 6  # of which training knows nothing
    whole = {"train": rolls(60, 0), "valid": rolls(30, 2), "test": test}
    lengths = {f"{split}_lengths": np.array([15] * (len(x) // 15)) for split, x in whole.items()}
    data = {"source": str(save_data(**whole, **lengths)), "kind": "categorical"}
    run, out = tmp_path / "run", tmp_path / "out.npz"
    fit_config(resolve({"model": MODELS[model], "data": data, "fit": TINY_FIT}), run)

    said = json.loads(cli("evaluate", run, "--json").out)
    assert np.isfinite(said["nats_per_frame"])
    assert set(said["floors"]) == {"independent", "markov"}
    found = json.loads(cli("predict", run, "--samples", 3, "--json").out)["predictions"]
    assert all(0 <= each["accuracy"] <= 1 for each in found.values())
    assert "accuracy" in cli("predict", run, "--samples", 3).out
    for words in (["--horizon", 2], ["--impute", "--out", out]):
        said = cli("predict", run, *words, "--quantiles", "0.1,0.9")
        assert (said.code, said.out) == (2, "")
        assert "no order and therefore no quantiles" in said.err
    said = cli("predict", run, "--horizon", 2, "--samples", 4, "--out", out, "--json")
    assert json.loads(said.out)["horizon"][0].keys() >= {"accuracy", "copy_last_accuracy"}
    arrays = arrays_of(out)
    np.testing.assert_allclose(arrays["mean"].sum(-1), 2, rtol=1e-5)
    assert arrays["symbols"].tolist() == [1, 2, 3, 4, 5, 6, 0, 4]
    assert arrays["symbol_features"].tolist() == [0] * 6 + [1] * 2

    assert cli("predict", run, "--impute", "--samples", 5, "--out", out).code == 0
    filled = arrays_of(out)
    assert set(filled["x"][:, 0]) <= {1, 2, 3, 4, 5, 6}
    assert set(filled["x"][:, 1]) <= {0, 4}
    assert cli("sample", run, "--num", 2, "--length", 4, "--out", out).code == 0
    assert set(arrays_of(out)["x"][..., 0].flatten().tolist()) <= {1, 2, 3, 4, 5, 6}
    assert cli("sample", run, "--num", 2, "--out", tmp_path / "out.png").code == 0
    said = cli("check", run, "--draws", 50)
    assert said.code == 0, said.err
    if model == "tsbn":
        said = cli("report", run)
        assert said.code == 0, said.err
    tree = Run.load(run).to_datatree(draws=2)
    assert set(np.unique(tree["posterior_predictive"]["x"][..., 1])) <= {0, 4}


@pytest.mark.usefixtures("without_drawing")
def test_a_boltzmann_machine_of_symbols(cli, save_data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(RBM, "sweeps", 20)
    rows = np.nan_to_num(rolls(60, 0), nan=4)
    whole = dict.fromkeys(("train", "valid", "test"), rows)
    source = save_data(**whole, **{f"{split}_lengths": np.ones(60, int) for split in whole})
    run, out, model = tmp_path / "run", tmp_path / "out.npz", {"name": "rbm", "hidden_dim": 3}
    data = {"source": str(source), "kind": "categorical"}
    fit_config(resolve({"model": model, "data": data, "fit": TINY_FIT}), run)

    exact = json.loads(cli("evaluate", run, "--json").out)
    assert exact["estimator"] == "exact"
    annealed = ("--estimator", "ais", "--temperatures", 20, "--chains", 400, "--json")
    found = json.loads(cli("evaluate", run, *annealed).out)
    assert found["nats_per_frame"] == pytest.approx(exact["nats_per_frame"], abs=0.1)
    assert cli("sample", run, "--num", 5, "--out", out).code == 0
    assert set(arrays_of(out)["x"][..., 1].flatten().tolist()) <= {0, 4}
    said = cli("report", run)
    assert said.code == 0, said.err
    other = save_data("other.npz", x=rows + 1, lengths=np.ones(60, int))
    said = cli("evaluate", run, "--data", other)
    assert said.code == 3
    assert "which the data of the fit does not have" in said.err


def test_a_symbol_that_the_fit_does_not_know_is_refused_in_words(cli, save_data, tmp_path) -> None:
    part = {"train": np.tile([[1], [2], [3]], (5, 1)), "train_lengths": np.array([5, 5, 5])}
    source = str(save_data(**part))
    values = {"model": MODELS["hmm"], "data": {"source": source}, "fit": TINY_FIT}
    fit_config(resolve(values), tmp_path / "run")
    other = save_data("other.npz", **{**part, "train": part["train"] + 1})
    said = cli("evaluate", tmp_path / "run", "--data", other)
    assert said.code == 3
    assert "has the symbol 4 in feature 0" in said.err


def test_lds_refuses_symbols_in_words(cli, save_data) -> None:
    source = save_data(train=np.tile([[1], [2], [3]], (5, 1)), train_lengths=np.array([5, 5, 5]))
    said = cli("fit", "--model", "lds", "--data", source)
    assert said.code in (2, 3)
    assert "lds models real values" in said.err
