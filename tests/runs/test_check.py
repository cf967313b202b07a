import json

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.evaluate.latents.activity import activities
from pyrodgm.evaluate.likelihood.weights import importance_weights, latent_nats
from pyrodgm.evaluate.posterior import diagnostics, kept, predictive
from pyrodgm.evaluate.work import weighing
from pyrodgm.runs import check as module
from pyrodgm.runs.check import check, last_check
from pyrodgm.runs.guide_tests import GuideTests
from tiny import blank_figures


def fitted(kind, folder):
    """A run on bits that are pitches, or on grey values that are pictures."""
    rng = np.random.default_rng(0)
    lengths = np.array([9, 5, 12])
    x = rng.random((lengths.sum(), 6)).astype(np.float32)
    facts = {"image_shape": (2, 3)} if kind == "unit" else {"lowest_pitch": 60}
    part = Sequences((x > 0.5).astype(np.uint8) if kind == "binary" else x, lengths)
    parts = {"train": part, "valid": part, "test": part}
    splits = Splits.of("toy", kind, parts, **facts)
    model = dgm.models.TSBN(splits.info, hidden_dim=4)
    guide = dgm.guides.RecurrentBernoulli(model)
    objective = dgm.objectives.NVIL(model, guide)
    return dgm.fit(objective, splits, steps=100, out=folder / "toy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fitted("binary", tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def found(run):
    with blank_figures():
        return check(run, draws=100, posterior_draws=10)


def test_every_file_is_written_and_opens(tmp_path):
    run = fitted("unit", tmp_path)
    found = check(run, draws=100, posterior_draws=10)
    assert found.calibration is None
    names = ["posterior", "predictive", "guide", "units", "example", "learning", "check"]
    assert list(found.paths) == names
    assert all(path.is_relative_to(run.folder.path) for path in found.paths.values())
    tree = xr.open_datatree(found.paths["posterior"], engine="h5netcdf")
    assert tree["posterior"].sizes["draw"] == 10
    for name in ("predictive", "guide", "example", "learning"):
        with Image.open(found.paths[name]) as image:
            assert image.size[0] > 500


def test_numbers_have_one_entry_per_sequence(found):
    assert found.k.shape == found.efficiency.shape == found.gap.shape == (3,)
    assert ((found.efficiency > 0) & (found.efficiency <= 1)).all()
    assert set(found.p_values) == {"posterior", "ancestral"}


def test_numbers_are_those_of_the_weights(run, found):
    log_w = importance_weights(run.model, run.guide, run.splits.test, particles=100)
    efficiency = diagnostics.effective_sample_size(log_w) / 100
    np.testing.assert_allclose(found.efficiency, efficiency)
    gap = diagnostics.gap_per_frame(log_w, run.splits.test.lengths)
    np.testing.assert_allclose(found.gap, gap)
    assert found.latent_nats == latent_nats(run.model, run.guide, run.splits.test)
    tree = run.to_datatree("test", draws=10)
    data = predictive.observed(run.splits, "test", draws=10)
    expected = predictive.p_values(data, predictive.posterior_replicates(tree, run.splits))
    assert found.p_values["posterior"] == pytest.approx(expected)


def test_unused_latents_are_reported(run, found):
    assert "KL(guide, prior) is" in found.text()
    idle = module.Check(**{**vars(found), "latent_nats": 0.001})
    assert "the latent variables are unused (posterior collapse)" in idle.text()


def test_active_units_are_counted(run, found):
    variances = activities(run.model, run.guide, run.splits.test)["z"]
    units = found.to_dict()["active_units"]["z"]
    assert units["active"] == (variances > 0.01).sum()
    assert (units["units"], units["variances"]) == (4, pytest.approx(variances))
    for values, said in (([1.0, 0.0], False), ([1.0, 0.0, 0.0], True)):
        other = module.Check(**{**vars(found), "activities": {"z": np.array(values)}}).text()
        assert f"1 of {len(values)} of z" in other
        assert ("Most latents are unused" in other) == said


@pytest.mark.usefixtures("without_drawing")
def test_a_guide_is_calibrated_and_its_gaps_are_measured(run, tmp_path):
    found = check(
        run, draws=30, posterior_draws=5, tests=GuideTests(calibration=25, gaps=2), out=tmp_path
    )
    assert found.paths["calibration"].is_file()
    assert found.to_dict()["calibration"]["simulated"] == 25
    assert found.paths["gaps"].is_file()
    assert found.to_dict()["gaps"]["not_split_because"].startswith("RecurrentBernoulli draws")
    assert "It is not split: RecurrentBernoulli draws 'z' given other latents" in found.text()
    assert "Calibration on 25 sequences simulated from the model" in found.text()
    json.dumps(found.to_dict(), allow_nan=False)


def test_json_is_strict_and_equal_to_the_file(found):
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(found.paths["check"].read_text()) == json.loads(text)


def test_an_infinite_k_is_null(found):
    k = np.array([np.inf, 0.2, 0.9])
    values = module.Check(**{**vars(found), "k": k}).to_dict()
    assert values["k"] == [None, 0.2, 0.9]
    assert values["trusted"] == 1


def test_text_says_what_was_found(found):
    text = found.text()
    assert found.verdict in text
    assert "unreliable below 1000" in text
    assert "10 replicates" in text
    assert str(found.paths["posterior"]) in text


@pytest.mark.usefixtures("without_drawing")
def test_fewer_draws_are_kept_where_memory_is_short(run, monkeypatch):
    each = len(run.splits.test) * int(run.splits.test.lengths.max()) * (6 + 4 + 4)
    monkeypatch.setattr(kept, "CHECK_BYTES", 15 * each)
    assert check(run, draws=30, posterior_draws=50).posterior_draws == 15
    monkeypatch.setattr(kept, "CHECK_BYTES", 120 * (6 + 4 + 4))
    part = check(run, draws=30, posterior_draws=50)
    assert (part.replicated, part.sequences) == (1, 3)
    assert "replicates of 1 of 3 sequences, spread evenly over the split" in part.text()
    assert part.to_dict()["replicated"] == 1


def test_a_refusal_comes_before_the_work(run, monkeypatch):
    monkeypatch.setattr(module, "importance_weights", lambda *_, **__: pytest.fail("it worked"))
    for wrong in (
        {"posterior_draws": 0},
        {"sequences": 0},
        {"draws": 5},
        {"split": "tset"},
        {"tests": GuideTests(calibration=5)},
        {"tests": GuideTests(ais=True)},
        {"tests": GuideTests(gaps=-1)},
    ):
        with pytest.raises(UsageError):
            check(run, **wrong)


@pytest.mark.usefixtures("without_drawing")
def test_a_check_tells_how_far_it_is(run):
    told = {}
    check(run, draws=30, posterior_draws=5, progress=lambda name, share: told.update({name: share}))
    assert told == {"importance weights": 1.0, "draws to keep": 1.0, "replicates": 1.0}


@pytest.mark.usefixtures("without_drawing")
def test_a_second_check_gives_the_same_numbers(run, found):
    again = check(run, draws=100, posterior_draws=10)
    assert again.to_dict() == found.to_dict()


@pytest.mark.usefixtures("without_drawing")
def test_a_guide_is_judged_on_sequences_spread_over_the_split(run, found, monkeypatch):
    assert found.rows.tolist() == [0, 1, 2]
    some = check(run, draws=100, posterior_draws=10, sequences=2)
    assert some.rows.tolist() == [0, 1]
    assert len(some.k) == 2
    assert "on 2 sequences" in some.text()
    monkeypatch.setattr(kept, "FEWEST_SEQUENCES", 1)
    work = weighing(run.model, run.guide, run.splits.test).of(100)
    monkeypatch.setattr(kept, "WORK", 1.9 * work * 26 / 3)
    one = check(run, draws=100, posterior_draws=10)
    assert one.rows.tolist() == [0]
    assert "100 draws each (of 3; --sequences N takes others)" in one.text()


@pytest.mark.usefixtures("without_drawing")
def test_the_last_check_is_of_the_split_and_the_weights_asked_for(run, monkeypatch):
    made = check(run, draws=30, posterior_draws=10)
    assert last_check(run, "test") == made.to_dict()
    assert last_check(run, "valid") is None
    assert made.checkpoint == "step-00000100"
    monkeypatch.setattr(run, "checkpoint", "step-00000099")
    assert last_check(run, "test") is None


def test_too_few_draws_and_unknown_splits_are_refused(run):
    with pytest.raises(UsageError, match="too few"):
        check(run, draws=5)
    with pytest.raises(UsageError, match="at least 1"):
        check(run, sequences=0)
    with pytest.raises(UsageError, match="unknown split"):
        check(run, split="tset")


@pytest.mark.usefixtures("without_drawing")
def test_without_latents_there_is_no_guide_to_judge(tmp_path, run, found):
    model = dgm.models.AR(run.splits.info)
    made = dgm.objectives.ML(model, dgm.guides.NoGuide(model))
    exact = dgm.fit(made, run.splits, steps=5, out=tmp_path / "ar")
    checked = check(exact, draws=30, posterior_draws=5)
    assert checked.to_dict()["exact"]
    assert not found.to_dict()["exact"]
    text = checked.text()
    assert "its likelihood is exact" in text
    assert "posterior, given the frames before:" in text
    assert "effective" not in text
    assert "k-hat" not in text


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """A run with a codebook, whose guide has no randomness."""
    x = (np.random.default_rng(0).random((12, 6)) < 0.5).astype(np.uint8)
    part = Sequences(x, np.ones(12, dtype=int))
    splits = Splits.of("toy", "binary", dict.fromkeys(("train", "valid", "test"), part))
    model = dgm.models.VAE(splits.info, latents="codebook", latent_dim=2, classes=4, hidden_dim=5)
    guide = dgm.guides.NearestCode(model, hidden_dim=5)
    objective = dgm.objectives.VQ(model, guide, revive=False)
    return dgm.fit(objective, splits, steps=5, out=tmp_path_factory.mktemp("coded") / "run")


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.filterwarnings("ignore::pyrodgm.errors.CodebookWarning")
def test_a_guide_without_randomness_is_not_called_trusted(coded):
    found = check(coded, draws=30, posterior_draws=5)
    values, text = found.to_dict(), found.text()
    assert values["certain"]
    assert values["trusted"] == 0
    for word in ("k-hat at most", "Active units", "effective (median)"):
        assert word not in text
    assert "nearest codes of every row without randomness" in text
    assert "Codes of z:" in text
    assert "guide" not in found.paths
    log_w = importance_weights(coded.model, coded.guide, coded.splits.test, particles=1)
    bound = values["reconstruction_nats_per_frame"] - values["latent_nats_per_frame"]
    assert bound == pytest.approx(float(log_w.mean()), rel=1e-5)
    use = values["class_use"]["z"]
    assert (use["variables"], use["classes"], use["shared"]) == (2, 4, True)
    assert use["conditional_entropy"] == [0, 0]
    with pytest.raises(CompatibilityError, match="leave out --calibration and --gaps"):
        check(coded, draws=30, tests=GuideTests(calibration=30))


@pytest.mark.parametrize("tests", [GuideTests(calibration=30), GuideTests(gaps=2)])
def test_tests_of_a_guide_need_latents(run, tests):
    model = dgm.models.AR(run.info)
    with pytest.raises(CompatibilityError, match="AR has no latents, so that there is no guide"):
        tests.refuse(model, dgm.guides.NoGuide(model))


def test_advice_for_rows_names_no_particle_filter():
    k = np.full(3, 2.0)
    assert "fivo" in diagnostics.verdict(k)
    rows = diagnostics.verdict(k, over_time=False)
    assert "fivo" not in rows
    assert "ais" in rows
    assert "sequences. The ELBO" not in rows
