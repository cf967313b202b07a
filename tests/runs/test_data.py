"""A run folder is whole: what needs no data needs none, and data that moved can be named anew."""

import json
import shutil
import warnings

import numpy as np
import pytest

import pyrodgm as dgm
from pyrodgm.data import ragged
from pyrodgm.data.local import sha256
from pyrodgm.errors import DataError, DataWarning, MissingDataError
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import resolve
from pyrodgm.storage.toml import read_toml
from tiny import arrays_of, tiny_values
from tiny import ragged as ragged_arrays


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A run on real numbers whose file has no test split, and where its data is now."""
    folder = tmp_path_factory.mktemp("moved")
    arrays = {k: x for k, x in ragged_arrays(kind="real").items() if k.startswith("train")}
    np.savez(folder / "old.npz", **arrays)
    values = {**tiny_values(folder / "old.npz"), "model": {"name": "ar", "history": 2}}
    fit_config(resolve(values), folder / "run")
    before = Run.load(folder / "run")
    told = {
        "results": before.results().to_dict(),
        "predictions": {n: p.to_dict() for n, p in before.predict().items()},
        "floors": {n: b.to_dict() for n, b in before.trivial_bounds("valid").items()},
    }
    (folder / "elsewhere").mkdir()
    (folder / "old.npz").rename(folder / "elsewhere" / "new.npz")
    return folder / "run", folder / "elsewhere" / "new.npz", told


pytestmark = pytest.mark.usefixtures("without_drawing")


@pytest.fixture
def moved(original, tmp_path):
    """The same, in a folder of this test."""
    shutil.copytree(original[0], tmp_path / "run")
    return tmp_path / "run", original[1], original[2]


def test_what_needs_no_data_needs_none(moved, cli, tmp_path):
    run, _, told = moved
    assert cli("sample", run, "--out", tmp_path / "a.npz").code == 0
    said = cli("compare", run, "--json")
    assert said.code == 0, said.err
    (row,) = json.loads(said.out)["runs"]
    assert row["nats_per_frame"] == told["results"]["test"]["nats_per_frame"]
    loaded = Run.load(run)
    assert loaded.results().to_dict()["floors"] == told["results"]["floors"]
    assert loaded.info.kind == "real"
    said = cli("report", run)
    assert said.code == 0, said.err
    page = (run / "report.html").read_text()
    assert "Without its data" in page
    assert f"{told['results']['test']['nats_per_frame']:.3f}" in page
    assert "train 20 sequences" in page
    assert "no &#39;test&#39; in the file" in page


@pytest.mark.parametrize(
    "words",
    [["evaluate"], ["predict"], ["check"], ["compare", "--particles", 3], ["fit", "--resume"]],
)
def test_an_error_says_which_file_was_looked_for_and_what_to_type(moved, cli, words):
    run, now, _ = moved
    said = cli(*words[:1], *words[1:], run)
    assert said.code == 3
    for part in ("old.npz", sha256(now), "--data FILE", "fit --resume", "Run.load("):
        assert part in said.err


def test_data_that_moved_is_known_by_its_digest_and_cut_as_before(moved, cli):
    run, now, told = moved
    said = cli("evaluate", run, "--data", now, "--json")
    assert json.loads(said.out)["nats_per_frame"] == told["results"]["test"]["nats_per_frame"]
    assert json.loads(said.out)["floors"] == told["results"]["floors"]["test"]
    loaded = Run.load(run, now)
    assert loaded.data.other is None
    assert {n: p.to_dict() for n, p in loaded.predict().items()} == told["predictions"]
    again = Run.load(run, ragged.read(now))
    assert again.data.other is None
    for command in (["report"], ["compare"], ["check", "--draws", 100]):
        said = cli(*command, run, "--data", now)
        assert said.code == 0, said.err
    assert "Without its data" not in (run / "report.html").read_text()


def test_a_run_goes_on_with_data_that_moved(moved, cli):
    run, now, _ = moved
    other = now.with_name("other.npz")
    np.savez(other, **ragged_arrays(kind="real"))
    said = cli("fit", "--resume", run, "--data", other, "--steps", 14)
    assert (said.code, read_toml(run / "config.toml")["fit"]["steps"]) == (3, 12)
    assert "is not the data that" in said.err
    said = cli("fit", "--resume", run, "--data", now.with_name("none.npz"), "--steps", 14)
    assert said.code == 3
    assert "there is no file" in said.err
    said = cli("fit", "--resume", run, "--data", now, "--steps", 14)
    assert said.code == 0, said.err
    assert read_toml(run / "config.toml")["data"]["source"] == str(now)
    assert resume(run, steps=15).steps == 15
    with pytest.raises(DataError, match="is not the data that"):
        resume(run, splits=other, steps=16)


def test_new_data_is_asked_about_whole_and_without_that_of_the_run(moved, cli, tmp_path):
    run, _, told = moved
    new = ragged_arrays(kind="real")
    path = tmp_path / "fifteen.npz"
    np.savez(path, test=new["train"], test_lengths=new["train_lengths"])
    said = cli("predict", run, "--data", path, "--horizon", 2, "--from", "end", "--json")
    assert said.code == 0, said.err
    shown = cli("predict", run, "--data", path, "--horizon", 2, "--from", "end")
    assert shown.out.startswith(f"test: {len(new['train_lengths'])} sequences")
    said = cli("evaluate", run, "--data", path, "--json")
    values = json.loads(said.out)
    assert values["examples"] == len(new["train_lengths"])
    assert set(values["floors"]) == {"independent", "markov"}
    said = cli("predict", run, "--data", path, "--json")
    assert set(json.loads(said.out)["predictions"]) == set(told["predictions"])


def test_one_sequence_and_its_gaps(moved, cli, tmp_path):
    run, _, _ = moved
    x = ragged_arrays(kind="real")["train"][:7].copy()
    x[2:4, 0] = np.nan
    np.save(tmp_path / "walk.npy", x)
    filled = ["--impute", "--out", tmp_path / "filled.npz", "--json"]
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        said = cli("predict", run, "--data", tmp_path / "walk.npy", *filled)
    assert said.code == 0, said.err
    assert json.loads(said.out)["missing"] == 2
    assert json.loads(said.out)["split"] == "walk"
    assert "note: walk: no lengths of walk: its frames are read as one sequence each" in said.err
    assert arrays_of(tmp_path / "filled.npz")["x"].shape[-1] == x.shape[1]
    said = cli("check", run, "--data", tmp_path / "walk.npy", "--draws", 100, "--json")
    assert said.code == 0, said.err
    assert (run / "check-walk" / "check.json").is_file()
    assert not (run / "check.json").exists()
    said = cli("evaluate", run, "--data", tmp_path / "walk.npy", "--split", "test")
    assert (said.code, "'walk' has no 'test'" in said.err) == (2, True)


def test_arrays_of_python_are_asked_about(moved):
    run = Run.load(moved[0])
    x = ragged_arrays(kind="real")["train"]
    one = run.evaluate(x[:9])
    assert (one.examples, one.frames) == (1, 9)
    several = run.evaluate([x[:4], x[4:9]])
    assert (several.examples, several.frames) == (2, 9)
    assert set(run.predict(x[:9])) == set(moved[2]["predictions"])
    assert run.forecast(3, x[:9], start="end").mean.shape == (1, 3, 6)
    gaps = np.where(np.arange(54).reshape(9, 6) == 20, np.nan, x[:9])
    assert run.impute(gaps).missing == 1
    assert run.to_datatree(x[:9], draws=2)["observed_data"]["x"].shape[-2:] == (9, 6)
    assert run.trivial_bounds(x[:9])["independent"].frames == 9
    with pytest.raises(DataError, match="6 features per frame, but 'given' has 5"):
        run.evaluate(x[:9, :5])


@pytest.mark.parametrize("kind", ["binary", "unit", "count", "real"])
def test_trivial_predictors_are_those_of_the_training_data(save_data, tmp_path, kind):
    arrays = ragged_arrays(kind=kind)
    path = save_data(**arrays)
    values = {**tiny_values(path), "model": {"name": "hmm", "num_states": 2}}
    fit_config(resolve(values), tmp_path / "run")
    own = Run.load(tmp_path / "run")
    expected = own.trivial_bounds("test"), own.predict("test")
    path.unlink()
    new = save_data("new.npz", x=arrays["test"], lengths=arrays["test_lengths"])
    other = Run.load(tmp_path / "run", new)
    assert other.trivial_bounds() == expected[0]
    found = other.predict()
    assert {n: p.squared_error for n, p in found.items()} == {
        n: p.squared_error for n, p in expected[1].items()
    }


def test_folders_of_older_versions_still_answer(moved, save_data):
    run, now, told = moved
    environment = json.loads((run / "environment.json").read_text())
    for key in ("data_splits", "data_notes"):
        del environment[key]
    del environment["data"]["num_frames"]
    (run / "environment.json").write_text(json.dumps(environment))
    for name in ("trivial.safetensors", "results.json"):
        (run / name).unlink()
    with pytest.raises(MissingDataError):
        Run.load(run).results()
    new = save_data("new.npz", x=ragged_arrays(kind="real")["test"])
    with pytest.warns(DataWarning, match="no trivial predictors: the data that"):
        assert Run.load(run, new).trivial_bounds() == {}
    with pytest.warns(DataWarning, match="no linear autoregression"):
        assert "copy-last" in Run.load(run, new).predict()
    again = Run.load(run, now)
    assert again.results().to_dict()["test"] == told["results"]["test"]
    assert again.trivial_bounds("valid")["markov"].to_dict() == told["floors"]["markov"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert Run.load(run, save_data("b.npz", x=np.zeros((3, 6)), lengths=[3])).trivial_bounds()


def test_runs_of_python_objects_need_no_data_either(save_data, tmp_path):
    path = save_data(**ragged_arrays(kind="real"))
    splits = ragged.read(path)
    made = lambda: dgm.objectives.ML(model := dgm.models.AR(splits.info), dgm.guides.NoGuide(model))  # noqa: E731
    run = dgm.fit(made(), splits, steps=2, out=tmp_path / "run")
    path.unlink()
    again = Run.load(tmp_path / "run", objective=made())
    assert again.sample(1)["x"].shape[-1] == 6
    assert again.evaluate(splits.test) == run.evaluate("test")
    assert again.results().test == run.results().test
    with pytest.raises(MissingDataError, match="fitted from Python objects"):
        again.evaluate()
