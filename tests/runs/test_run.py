import copy
import gc
import os
import pickle
import shutil
import warnings

import numpy as np
import pyro
import pytest
import torch

import pyrodgm as dgm
from pyrodgm.data import ragged
from pyrodgm.errors import (
    ChangedWarning,
    CheckpointError,
    ConfigError,
    DataError,
    DataWarning,
    NonFiniteError,
    RunFolderError,
    UsageError,
)
from pyrodgm.runs.fitting import fit_config
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import resolve
from pyrodgm.storage.files import alone
from tiny import BOUND_FIELDS, arrays_of, metrics, tiny_values
from tiny import ragged as ragged_arrays

OPTIONS = {"steps": 12, "evaluate_every": 5, "batch_size": 8}


@pytest.fixture
def splits(tiny):
    return ragged.read(tiny)


def objective(splits, hidden_dim=3):
    pyro.set_rng_seed(0)
    model = dgm.models.TSBN(splits.info, hidden_dim=hidden_dim)
    guide = dgm.guides.RecurrentBernoulli(model)
    return dgm.objectives.NVIL(model, guide, signal="future")


def test_a_loaded_run_gives_the_numbers_of_the_fitted_one(tiny, tmp_path):
    run = fit_config(resolve(tiny_values(tiny)), tmp_path / "run")
    again = Run.load(tmp_path / "run")
    assert again.results().to_dict() == run.results().to_dict()
    assert again.steps == 12
    draws = [r.sample(2, 5, seed=3)["x"] for r in (run, again)]
    assert torch.equal(*draws)


def test_results_hold_what_the_contract_names(fitted):
    results = Run.load(fitted).results().to_dict()
    assert {"run", "steps", "seconds", "chosen_by", "valid", "test", "floors"} == results.keys()
    assert results["valid"].keys() == results["test"].keys() == BOUND_FIELDS
    assert results["test"]["examples"] == 6


def test_a_run_of_python_objects_can_be_saved_and_loaded(splits, tmp_path):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    run.save(tmp_path / "saved")
    loaded = Run.load(tmp_path / "saved", splits, objective=objective(splits))
    assert loaded.evaluate() == run.evaluate()
    with pytest.raises(RunFolderError, match=r"from Python objects.*objective=\.\.\., splits"):
        Run.load(tmp_path / "saved")
    other = pytest.warns(ChangedWarning, match="hidden_dim=3, and 4 was given")
    with other, pytest.raises(CheckpointError, match="of another shape"):
        Run.load(tmp_path / "saved", splits, objective=objective(splits, hidden_dim=4))


def test_the_readme_example_works(splits):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    assert run.evaluate("valid", particles=3).estimator == "iwae"
    assert run.sample(2)["x"].shape[::2] == (2, 6)
    assert run.to_datatree(draws=2)["posterior"]["z"].sizes


def test_a_temporary_folder_lasts_as_long_as_its_run(splits):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    path = run.folder.path
    assert path.is_dir()
    del run
    gc.collect()
    assert not path.exists()


def test_a_copy_keeps_the_temporary_folder_of_its_run(splits):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    path, copied = run.folder.path, copy.deepcopy(run)
    shallow = copy.copy(copied)
    del run, copied
    gc.collect()
    assert len(shallow.metrics())
    assert shallow.folder.best().is_dir()
    del shallow
    gc.collect()
    assert not path.exists()


def test_a_run_that_goes_on_keeps_the_temporary_folder(splits):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    path = run.folder.path
    run = dgm.resume(path, objective=objective(splits), splits=splits, steps=OPTIONS["steps"] + 2)
    gc.collect()
    assert run.folder.best().is_dir()
    del run
    gc.collect()
    assert not path.exists()


def test_a_pickled_run_keeps_its_folder_for_good(splits, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    text, bound = pickle.dumps(run), run.evaluate()
    del run
    gc.collect()
    again = pickle.loads(text)
    assert again.evaluate() == bound
    again.save(tmp_path / "saved")


def test_another_process_does_not_delete_the_folder(splits, monkeypatch):
    run = dgm.fit(objective(splits), splits, **OPTIONS)
    path, here = run.folder.path, os.getpid()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(os, "getpid", lambda: here + 1)
        del run
        gc.collect()
    assert path.is_dir()
    shutil.rmtree(path)


def test_a_save_that_fails_leaves_nothing_behind(fitted, tmp_path, monkeypatch):
    run = Run.load(fitted)

    def fail(source, target, **_):
        target.mkdir()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copytree", fail)
        with pytest.raises(RunFolderError, match="No space left"):
            run.save(tmp_path / "saved")
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunFolderError, match="is within"):
        run.save(fitted / "checkpoints" / "saved")
    with alone(fitted), pytest.raises(RunFolderError, match="another process is training"):
        run.save(tmp_path / "saved")
    run.save(tmp_path / "saved")
    assert Run.load(tmp_path / "saved").evaluate() == run.evaluate()
    with pytest.raises(RunFolderError, match="already exists"):
        run.save(tmp_path / "saved")


def test_where_training_fails_its_temporary_folder_stays(splits, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = objective(splits)
    made.model.layers[0].past.weight.data.fill_(float("inf"))
    with pytest.raises(NonFiniteError) as caught:
        dgm.fit(made, splits, **OPTIONS)
    (batch,) = tmp_path.glob("pyrodgm-*/nonfinite-batch-1-0.npz")
    assert str(batch) in str(caught.value)
    rows = next(dgm.data.BatchSampler(splits.train.lengths, OPTIONS["batch_size"], seed=0))
    assert len(arrays_of(batch)["x"]) == len(rows)


def test_a_fit_takes_options_by_name_and_refuses_others(splits):
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        dgm.fit(objective(splits), splits, step=3)


def test_the_objective_ends_with_the_weights_that_did_best(splits, tmp_path):
    made = objective(splits)
    run = dgm.fit(made, splits, out=tmp_path / "run", **OPTIONS)
    loaded = Run.load(tmp_path / "run", splits, objective=objective(splits))
    assert run.objective is made
    state = loaded.objective.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in made.state_dict().items())


def test_fewer_steps_than_between_evaluations_still_give_a_run(splits):
    run = dgm.fit(objective(splits), splits, steps=2)
    assert (run.steps, run.folder.best().name) == (2, "step-00000002")


def test_saving_to_an_occupied_place_is_refused(fitted):
    with pytest.raises(RunFolderError, match="already exists and is not empty"):
        Run.load(fitted).save(fitted)


def test_data_with_other_features_is_refused(fitted, save_data):
    other = ragged.read(save_data(**ragged_arrays(dim=5)))
    with pytest.raises(DataError, match="6 features per frame, but 'tiny' has 5"):
        Run.load(fitted, other)


def test_real_values_for_a_run_on_binary_data_are_refused(fitted, save_data):
    with pytest.raises(DataError, match=r"fitted on binary data.*every value must be 0 or 1"):
        Run.load(fitted, ragged.read(save_data(**ragged_arrays(kind="real"))))


def test_other_data_of_the_same_kind_is_scored(fitted, save_data):
    other = ragged.read(save_data(**ragged_arrays(kind="unit", train=7)))
    assert Run.load(fitted, other).evaluate("train").examples == 7


def with_gaps(shift=0.0, **more):
    """Real numbers with gaps; training frames moved by a shift, all else as without."""
    arrays = ragged_arrays(kind="real")
    for split in ("train", "valid", "test"):
        arrays[split][1::3, 0] = np.nan
    return {**arrays, "train": arrays["train"] + np.float32(shift), **more}


def test_gaps_in_other_data_hold_the_means_that_were_fitted_with(save_data, tmp_path):
    """What a file says of training does not touch how its test sequences are scored."""
    values = tiny_values(save_data("a.npz", **with_gaps()))
    run = fit_config(resolve({**values, "model": {"name": "ar"}}), tmp_path / "run")
    other = Run.load(tmp_path / "run", save_data("b.npz", **with_gaps(shift=20)))
    assert other.evaluate() == run.evaluate()
    one, two = (each.predict()["filtered"] for each in (run, other))
    assert np.array_equal(one.errors, two.errors)
    assert np.array_equal(one.nats, two.nats)


def test_another_file_is_cut_as_the_runs_own(save_data, tmp_path):
    arrays = {key: x for key, x in ragged_arrays().items() if key.startswith("train")}
    values = tiny_values(save_data("a.npz", **arrays))
    values["data"]["split_seed"] = 5
    run = fit_config(resolve(values), tmp_path / "run")
    again = Run.load(tmp_path / "run", save_data("b.npz", **arrays))
    assert torch.equal(again.splits.test.x, run.splits.test.x)
    assert not torch.equal(ragged.read(tmp_path / "b.npz").test.x, run.splits.test.x)


def test_data_that_changed_since_is_named(save_data, tmp_path):
    fit_config(resolve(tiny_values(save_data("a.npz"))), tmp_path / "run")
    save_data("a.npz", **ragged_arrays(train=30))
    with pytest.warns(ChangedWarning, match="the data of .* has changed since it was fitted"):
        Run.load(tmp_path / "run").evaluate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Run.load(tmp_path / "run", tmp_path / "a.npz").evaluate()


def test_own_files_that_changed_since_are_named(tiny, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("from pyrodgm.models import AR\nclass Mine(AR):\n    pass\n")
    values = {**tiny_values(tiny), "model": {"name": f"{own}:Mine"}, "objective": {"name": "ml"}}
    fit_config(resolve(values), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Run.load(tmp_path / "run")
    own.write_text(own.read_text() + "# another\n")
    with pytest.warns(UserWarning, match="file of the model Mine has changed since"):
        Run.load(tmp_path / "run")


def test_counts_are_no_bits(fitted, save_data):
    with pytest.raises(DataError, match=r"has count values: .* every value must be 0 or 1"):
        Run.load(fitted, ragged.read(save_data(**ragged_arrays(kind="count"))))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_nothing_is_left_out_where_a_run_is_scored(tiny, tmp_path, averaging):
    """Dropout is for training: twice the same number, after training and after loading."""
    values = tiny_values(tiny, averaging=averaging)
    values["model"] = {"name": "rnn", "hidden_dim": 6, "dropout": 0.5}
    run = fit_config(resolve(values), tmp_path / "run")
    first = run.evaluate()
    assert run.evaluate() == first
    assert Run.load(tmp_path / "run").evaluate() == first
    valid = [line["valid_nats_per_frame"] for line in metrics(tmp_path / "run") if "best" in line]
    assert run.evaluate("valid").nats_per_frame == pytest.approx(max(valid), rel=1e-6)


@pytest.mark.parametrize("kind", ["unit", "binary"])
def test_grey_values_are_drawn_as_means_and_bits_as_bits(save_data, tmp_path, kind):
    run = fit_config(resolve(tiny_values(save_data(**ragged_arrays(kind=kind)))), tmp_path / "run")
    drawn = run.sample(3, 4)["x"]
    ahead = run.forecast(2, samples=4)
    for values in (drawn.numpy(), ahead.draw):
        bits = np.isin(values, (0.0, 1.0))
        assert bits.all() if kind == "binary" else not bits.any()


def test_nothing_to_draw_is_refused(fitted):
    for num, length in ((0, 3), (1, 0)):
        with pytest.raises(UsageError, match="give at least 1"):
            Run.load(fitted).sample(num, length)


def test_a_damaged_configuration_is_named(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run" / "config.toml").write_text("[model\n")
    with pytest.raises(ConfigError, match=r"config\.toml is not valid TOML"):
        Run.load(tmp_path / "run")


def test_metrics_are_a_table(fitted):
    table = Run.load(fitted).metrics()
    assert table["step"].is_monotonic_increasing
    assert table["valid_nats_per_frame"].notna().any()


def test_from_python_a_fit_warns_once_of_what_was_noticed(save_data):
    splits = ragged.read(save_data(train=ragged_arrays()["train"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        dgm.fit(objective(splits), splits, **OPTIONS)
    told = [str(each.message) for each in caught if each.category is DataWarning]
    assert len(told) == 1
    assert "tiny: no 'train_lengths': rows are independent" in told[0]
    assert "no 'valid' in the file" in told[0]
    whole = ragged.read(save_data())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dgm.fit(objective(whole), whole, **OPTIONS)
