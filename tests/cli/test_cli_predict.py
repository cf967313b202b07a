"""The command predict, and what sample and evaluate gained with it."""

import json
from pathlib import Path

import numpy as np
import pytest

from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from tiny import TINY_FIT, arrays_of, ragged


def test_predictions_stand_beside_trivial_ones(cli, fitted):
    said = cli("predict", fitted, "--samples", 3)
    assert said.code == 0, said.err
    for name in ("mean of 3 filtered samples", "copy-last", "linear AR(1)"):
        assert name in said.out
    assert "published" not in said.out
    found = json.loads(cli("predict", fitted, "--samples", 3, "--json").out)
    assert found["split"] == "test"
    assert found["predictions"]["filtered"]["samples"] == 3
    fields = {"samples", "squared_error", "standard_error", "sd", "nats_per_frame"}
    assert all(
        method.keys() == {*fields, "standardised_error"} for method in found["predictions"].values()
    )


def test_errors_of_real_numbers_stand_in_variances_too(cli, save_data, tmp_path):
    values = {"model": {"name": "ar"}, "data": {"source": str(save_data(**ragged(kind="real")))}}
    fit_config(resolve({**values, "fit": TINY_FIT}), tmp_path / "run")
    assert "in variances" in cli("predict", tmp_path / "run").out
    found = json.loads(cli("predict", tmp_path / "run", "--json").out)["predictions"]
    assert found["training mean"]["standardised_error"] == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("ending", [".npz", ".png"])
def test_a_forecast_goes_into_a_file(cli, fitted, tmp_path, ending):
    out = tmp_path / f"ahead{ending}"
    said = cli("predict", fitted, "--horizon", 2, "--samples", 4, "--out", out)
    assert said.code == 0, said.err
    assert "frames ahead" in said.out
    assert said.out.endswith(f"{out}\n")
    assert out.stat().st_size > 100


@pytest.mark.parametrize("ending", [".npz", ".png"])
def test_what_comes_after_the_end_goes_into_a_file(cli, fitted, tmp_path, ending):
    out = tmp_path / f"ahead{ending}"
    said = cli("predict", fitted, "--horizon", 4, "--from", "end", "--samples", 4, "--out", out)
    assert said.code == 0, said.err
    assert "the true frames are not known" in said.out
    assert out.stat().st_size > 100


def test_the_arrays_of_a_forecast_are_those_asked_for(cli, fitted, tmp_path):
    out = tmp_path / "ahead.npz"
    words = ["--horizon", 3, "--from", 2, "--samples", 4, "--quantiles", "0.25,0.75"]
    found = json.loads(cli("predict", fitted, *words, "--out", out, "--json").out)
    assert [row["ahead"] for row in found["horizon"]] == [1, 2, 3]
    assert found["files"] == [str(out)]
    arrays = arrays_of(out)
    count = len(arrays["rows"])
    assert set(arrays["starts"]) == {2}
    assert arrays["levels"].tolist() == [0.25, 0.75]
    assert arrays["quantiles"].shape == (2, count, 3, 6)
    assert arrays["mean"].shape == arrays["draw"].shape == (count, 3, 6)


def test_a_forecast_of_a_video_and_of_music(cli, save_data, tmp_path):
    """The same numbers as pictures that move and as pitches."""
    video = save_data("video.npz", **ragged(kind="unit"))
    fit(video, tmp_path / "video", image_shape=(2, 3))
    words = ["predict", tmp_path / "video", "--samples", 2]
    said = cli(*words, "--horizon", 2, "--out", tmp_path / "a.gif")
    assert said.code == 0, said.err
    assert (tmp_path / "a.gif").stat().st_size > 100
    assert "linear extrapolation" in cli(*words).out
    fit(save_data("music.npz"), tmp_path / "music", lowest_pitch=40)
    words = ["predict", tmp_path / "music", "--samples", 2, "--horizon", 2]
    said = cli(*words, "--out", tmp_path / "a.mid")
    assert said.code == 0, said.err
    assert len(list(tmp_path.glob("a-*.mid"))) == 6


def fit(data, run, **facts):
    values = {"model": {"hidden_dim": 2}, "data": {"source": str(data), **facts}, "fit": TINY_FIT}
    fit_config(resolve(values), run)


def test_gaps_are_filled(cli, fitted, save_data, tmp_path):
    arrays = ragged()
    gaps = arrays["test"].astype(np.float32)
    gaps[3, 2] = gaps[4] = np.nan
    data = save_data("gaps.npz", **{**arrays, "test": gaps})
    out = tmp_path / "filled.npz"
    words = ["predict", fitted, "--data", data, "--impute", "--samples", 5, "--out", out]
    said = cli(*words)
    assert said.code == 0, said.err
    assert f"filled in 7 of {gaps.size} values" in said.out
    found = json.loads(cli(*words, "--json").out)
    assert (found["missing"], found["values"]) == (7, gaps.size)
    truth = save_data("truth.npz", **{**arrays, "test": arrays["test"].astype(np.float32)})
    scores = json.loads(cli(*words, "--json", "--truth", truth).out)["scores"]
    assert scores["values"] == 7
    assert set(scores["squared_error"]) >= {"this model", "straight line"}
    assert "of 7 values lie between the quantiles 0.1 and 0.9" in cli(*words, "--truth", truth).out
    other = save_data("other.npz", **{**arrays, "test": 1 - arrays["test"].astype(np.float32)})
    said = cli(*words, "--truth", other)
    assert said.code == 3
    assert "differs from the data in values that are not missing" in said.err
    for source in (data, truth):
        said = cli("predict", fitted, "--data", data, "--truth", truth, "--impute", "--out", source)
        assert (said.code, "is data used by this command" in said.err) == (2, True)
    assert arrays_of(data).keys() == arrays.keys()
    filled = arrays_of(out)
    seen = ~np.isnan(gaps)
    assert np.array_equal(filled["seen"], seen)
    assert np.array_equal(filled["x"][seen], gaps[seen])
    assert not np.isnan(filled["x"]).any()
    assert filled["quantiles"].shape == (3, *gaps.shape)
    assert filled["lengths"].sum() == len(gaps)


def test_what_a_run_folder_says_is_read_once(cli, fitted, save_data, tmp_path, monkeypatch):
    arrays, read = ragged(), []
    gaps = arrays["test"].astype(np.float32)
    gaps[4] = np.nan
    data = save_data("gaps.npz", **{**arrays, "test": gaps})
    truth = save_data("truth.npz", **{**arrays, "test": arrays["test"].astype(np.float32)})
    before = Path.read_text

    def counted(path, *rest, **named):
        read.append(path.name)
        return before(path, *rest, **named)

    monkeypatch.setattr(Path, "read_text", counted)
    words = ["--impute", "--data", data, "--truth", truth, "--samples", 3]
    assert cli("predict", fitted, *words, "--out", tmp_path / "filled.npz").code == 0
    assert [read.count(name) for name in ("config.toml", "environment.json")] == [1, 1]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--impute"], 2, "--impute needs --out"),
        (["--truth", "x.npz"], 2, "--truth goes with --impute"),
        (["--impute", "--horizon", 2, "--out", "x.npz"], 2, "give one"),
        (["--impute", "--out", "x.npz"], 3, "no missing values"),
        (["--impute", "--out", "x.png"], 2, "endings that fit: .npz"),
        (["--from", 2], 2, "--from goes with --horizon"),
        (["--out", "x.npz"], 2, "--out goes with --horizon or --impute"),
        (["--quantiles", "0.1"], 2, "--quantiles goes with --horizon or --impute"),
        (["--horizon", 2, "--out", "x.mid"], 2, "endings that fit: .npz, .png"),
        (["--horizon", 99], 2, "give another start"),
        (["--horizon", 0], 2, "horizon is 0; give at least 1"),
        (
            ["--horizon", 2, "--from", "start"],
            2,
            "--from is 'start'; give a number of frames, or end",
        ),
        (["--quantiles", "half"], 2, "--quantiles is 'half'"),
        (["--samples", 0], 2, "samples is 0"),
        (["--split", "tset"], 2, "did you mean 'test'"),
    ],
)
def test_predict_refuses(cli, fitted, tmp_path, monkeypatch, words, code, part):
    monkeypatch.chdir(tmp_path)
    said = cli("predict", fitted, *words)
    assert (said.code, said.out) == (code, "")
    assert part in said.err
    assert not list(tmp_path.iterdir())


def test_draws_go_on_from_a_prefix(cli, fitted, tmp_path):
    out = tmp_path / "x.npz"
    words = ["--num", 2, "--length", 5, "--prefix", 3, "--split", "valid", "--out", out]
    said = cli("sample", fitted, *words)
    assert said.code == 0, said.err
    data = arrays_of(fitted.parent / "tiny.npz")
    starts = np.cumsum(data["valid_lengths"]) - data["valid_lengths"]
    firsts = [data["valid"][start : start + 3] for start in starts[:2]]
    assert np.array_equal(arrays_of(out)["x"][:, :3], firsts)
    said = cli("sample", fitted, "--length", 3, "--prefix", 3, "--out", out)
    assert said.code == 2
    assert "a prefix below the length" in said.err


def test_evaluation_by_a_particle_filter(cli, fitted):
    words = ["--estimator", "fivo", "--particles", 4]
    found = json.loads(cli("evaluate", fitted, *words, "--json").out)
    assert (found["estimator"], found["particles"]) == ("fivo", 4)
    assert "fivo with 4 particles" in cli("evaluate", fitted, *words).out
    assert "cannot be summed out" in cli("evaluate", fitted, "--estimator", "exact").err
