"""`pyrodgm fit`: what it prints, what it keeps, and how it refuses."""

import json
import pickle
import re

import numpy as np
import pytest
import torch

from pyrodgm.runs.run import Run
from pyrodgm.storage.folder import RunFolder
from pyrodgm.storage.toml import read_toml
from pyrodgm_cli.text import _kept_the_first
from tiny import BOUND_FIELDS, arrays_of, ragged

FAST = ["--steps", 12, "--set", "model.hidden_dim=3", "--set", "fit.evaluate_every=5"]
OWN = """
from pyrodgm.models import TSBN, Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.distributions import BernoulliVector
import torch

class Bias(StepModel):
    traits = ModelTraits(latents="binary", sequential=True)
    companions = Companions("recurrent-bernoulli", "rloo", "balls")
    history = 1
    def __init__(self, info, *, hidden_dim: int = 3):
        super().__init__(info)
        self.latents, self.observed = {"z": Site(hidden_dim, "binary")}, {"x": info.dim}
        self.z = torch.nn.Parameter(torch.zeros(hidden_dim))
        self.x = torch.nn.Parameter(torch.zeros(info.dim))
    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(self.z + 0 * past["z"]))
        draw("x", BernoulliVector(self.x + 0 * past["x"]))
"""


@pytest.fixture
def own(here):
    (here / "own.py").write_text(OWN)
    return here / "own.py"


def test_json_is_one_object_on_stdout_and_nothing_else(cli, tiny, here):
    said = cli("fit", "--data", tiny, *FAST, "--json")
    assert said.code == 0
    result = json.loads(said.out)
    assert {"run", "steps", "seconds", "valid", "test"} <= result.keys()
    assert result["valid"].keys() == result["test"].keys() == BOUND_FIELDS
    assert (result["run"], result["steps"]) == ("runs/tsbn-tiny-001", 12)
    assert "runs/tsbn-tiny-001: training, at most 12 steps" in said.err


def test_the_table_shows_the_bound_beside_trivial_predictors(cli, tiny, here):
    said = cli("fit", "--data", tiny, *FAST, "--out", "it")
    assert said.code == 0
    for part in ("it: 12 steps", "TSBN", "independent features", "Next: pyrodgm check it"):
        assert part in said.out
    bound = Run.load("it").evaluate("valid")
    assert f"{bound.nats_per_frame:.3f}" in said.out
    assert not (here / "runs").exists()


def test_a_fit_that_is_worse_than_nothing_says_so(cli, save_data, here):
    still = np.repeat(np.random.default_rng(0).integers(0, 2, (40, 4), dtype=np.uint8), 10, 0)
    data = save_data(train=still, train_lengths=np.full(40, 10))
    words = ["fit", "--model", "ar", "--data", data, "--steps", 200]
    assert "worse than independent features" in cli(*words, "--lr", 1e4).out
    assert "worse than independent features" not in cli(*words, "--lr", 0.03).out


@pytest.mark.parametrize(
    ("best", "first"), [([True, False, False], True), ([True, True, False], False), ([True], False)]
)
def test_a_fit_that_was_best_at_once_says_so(cli, tiny, here, best, first):
    cli("fit", "--data", tiny, *FAST, "--out", "my run")
    metrics = here / "my run" / "metrics.jsonl"
    told = [{"step": 5 * n, "best": each} for n, each in enumerate(best, start=1)]
    metrics.write_text("".join(json.dumps(record) + "\n" for record in told))
    run = Run.load("my run")
    assert _kept_the_first(run) is first


def test_a_path_with_a_space_can_be_pasted(cli, tiny, here):
    assert "pyrodgm check 'my run'" in cli("fit", "--data", tiny, *FAST, "--out", "my run").out


def test_a_constructor_without_the_facts_of_the_data_is_told_so(cli, tiny, here):
    (here / "bare.py").write_text(
        "from pyrodgm.models import AR\nclass Bare(AR):\n    def __init__(self):\n        pass\n"
    )
    said = cli("fit", "--data", tiny, "--model", "bare.py:Bare", "--objective", "ml")
    assert (said.code, said.out) == (2, "")
    assert "model Bare cannot be made" in said.err
    assert "facts, info" in said.err


def test_a_fit_looks_at_no_test_data(cli, save_data, here):
    arrays = ragged()
    other = {**arrays, "test": 1 - arrays["test"]}
    said = [
        cli("fit", "--data", save_data(f"{name}.npz", **data), *FAST, "--out", "it" + name).out
        for name, data in (("a", arrays), ("b", other))
    ]
    one, two = (re.sub("in .* s|it[ab]", "", text) for text in said)
    assert one == two


def test_fewer_steps_than_between_evaluations(cli, tiny, here):
    assert json.loads(cli("fit", "--data", tiny, "--steps", 5, "--json").out)["steps"] == 5


def test_data_with_one_split_and_one_sequence_per_split(cli, save_data, here):
    one = save_data(train=np.ones((30, 4), np.uint8), train_lengths=np.full(10, 3))
    result = json.loads(cli("fit", "--data", one, *FAST, "--json").out)
    assert result["test"]["standard_error_nats_per_example"] is None


def test_grey_values_fit(cli, save_data, here):
    grey = save_data(**ragged(kind="unit"))
    result = json.loads(cli("fit", "--data", grey, *FAST, "--json").out)
    assert "entropy" in result["floors"]["test"]


def test_files_then_flags_then_settings(cli, tiny, here):
    (here / "a.toml").write_text("[fit]\nsteps = 1\nlr = 0.1\nbatch_size = 3\n")
    (here / "b.toml").write_text("[fit]\nlr = 0.2\n[model]\nhidden_dim = 3\n")
    words = ["--config", "a.toml", "--config", "b.toml", "--steps", 2, "--lr", 0.3]
    assert cli("fit", "--data", tiny, *words, "--set", "fit.lr=0.4", "--out", "r").code == 0
    values = read_toml(here / "r" / "config.toml")
    fit = values["fit"]
    assert (fit["steps"], fit["lr"], fit["batch_size"]) == (2, 0.4, 3)
    assert values["model"]["hidden_dim"] == 3
    assert "hidden_dim" not in values["guide"]


def test_the_configuration_of_a_run_makes_the_same_run(cli, tiny, here):
    assert cli("fit", "--data", tiny.name, *FAST, "--lr", 0.03, "--out", "one").code == 0
    assert cli("fit", "--config", "one/config.toml", "--out", "two").code == 0
    one, two = (RunFolder.open(here / name) for name in ("one", "two"))
    assert one.config.read_text() == two.config.read_text()
    weights = [f.latest().joinpath("weights.safetensors").read_bytes() for f in (one, two)]
    assert weights[0] == weights[1]


def test_a_users_model_fits_and_continues_from_elsewhere(cli, tiny, own, monkeypatch, here):
    words = ["fit", "--model", "own.py:Bias", "--data", tiny.name, "--steps", 3, "--out", "r"]
    assert cli(*words).code == 0
    assert read_toml(here / "r" / "config.toml")["model"]["name"] == f"{own}:Bias"
    monkeypatch.chdir("/")
    said = cli("fit", "--resume", here / "r", "--steps", 6, "--json")
    assert json.loads(said.out)["steps"] == 6


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("history = 1", "history = = 1", "line 10: SyntaxError"),
        ("import torch", "import torhc", "line 5, in <module>: ModuleNotFoundError"),
        ("torch.zeros(info.dim)", "torch.zeros(info.dims)", "line 15, in __init__: AttributeErr"),
        ("self.x + 0", "self.x + self.w", "in step: AttributeError"),
        ("torch.zeros(info.dim)", "torch.zeros(info.dim + 1)", "in step: RuntimeError"),
    ],
)
def test_a_mistake_in_a_users_file_is_shown_at_its_line(cli, tiny, own, old, new, part):
    own.write_text(OWN.replace(old, new))
    said = cli("fit", "--model", f"{own}:Bias", "--data", tiny, *FAST)
    assert said.code == 2
    assert f"{own}, line" in said.err
    assert part in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--model", "tsbm"], "unknown model 'tsbm'"),
        (["--guide", "gru"], "unknown guide 'gru'"),
        (["--objective", "nvill"], "did you mean 'nvil'?"),
        (["--data", "jbs"], "unknown dataset 'jbs'; did you mean 'jsb'?"),
        (["--model", "no.py:Mine"], "there is no file"),
        (["--set", "fit.step=3", "--set", "model.size=3"], "2 mistakes in the configuration"),
        (["--set", "steps=3"], "expected group.key=value"),
        (["--steps", "0"], "fit.steps = 0: Input should be greater than or equal to 1"),
        (["--lr", "-1"], "fit.lr = -1.0: Input should be greater than 0"),
        (["--config", "none.toml"], "there is no configuration file none.toml"),
        (["--devices", "3", "--batch-size", "2"], "give --batch-size 3 or more"),
        (["--resume", "nothing"], "there is no run folder nothing"),
        (["--resume", "."], "not a run folder"),
        (["--resume", "x", "--guide", "flow"], "only --steps, --time-limit, --device, "),
        (["--resume", "x", "--model", "tsbn", "--out", "y"], "remove --out, model"),
        (["--out", "."], "already exists and is not empty"),
    ],
)
def test_usage_errors_end_with_code_2(cli, tiny, here, words, part):
    data = [] if {"--data", "--resume"} & set(words) else ["--data", tiny]
    said = cli("fit", *data, *words)
    assert (said.code, said.out) == (2, "")
    assert part in said.err
    assert not (here / "runs").exists()


def test_cuda_that_is_not_there_is_refused(cli, tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    said = cli("fit", "--data", tiny, "--device", "cuda")
    assert said.code == 2
    assert "torch finds no CUDA device here" in said.err


def changed(**arrays):
    return {**ragged(), **arrays}


FRAMES = len(ragged()["train"])
BAD = {
    "no file": (None, "there is no file"),
    "text": (changed(train=np.full((FRAMES, 6), "a")), "encode them as numbers"),
    "complex": (changed(train=np.full((FRAMES, 6), 1j)), "complex128 values"),
    "objects": (changed(train=np.array([[1], [2, 3]], dtype=object)), "holds Python objects"),
    "nothing but NaN": (changed(train=np.full((FRAMES, 6), np.nan)), "NaN"),
    "infinite": (changed(train=np.full((FRAMES, 6), np.inf)), "infinite"),
    "empty split": (
        changed(valid=np.ones((0, 6)), valid_lengths=np.ones(0, int)),
        "'valid' is empty",
    ),
    "lengths": (changed(train_lengths=np.array([3, 4])), "adds up to 7 frames"),
    "zero length": (changed(test_lengths=np.array([0, 3])), "every sequence needs at least one"),
    "other features": (changed(test=np.ones((28, 5))), "differ in features per frame"),
}


@pytest.mark.parametrize("name", BAD)
def test_data_errors_end_with_code_3_and_leave_nothing(cli, save_data, here, name):
    arrays, part = BAD[name]
    path = save_data(**arrays) if arrays else here / "none.npz"
    said = cli("fit", "--data", path)
    assert (said.code, said.out) == (3, "")
    assert part in said.err
    assert not (here / "runs").exists()


def test_an_emission_that_cannot_score_the_data_is_refused(cli, save_data, here):
    said = cli("fit", "--data", save_data(**ragged(kind="real")), "--set", "model.emission=nade")
    assert (said.code, said.out) == (3, "")
    assert "emissions that fit: gaussian" in said.err


@pytest.mark.parametrize("words", [["--set", "model.emission=nade"], ["--model", "rnn-nade"]])
def test_gaps_that_an_emission_cannot_score_are_refused_before_anything_runs(
    cli, save_data, here, words
):
    arrays = ragged()
    gaps = arrays["test"].astype(np.float32)
    gaps[3, 2] = np.nan
    said = cli("fit", "--data", save_data(**{**arrays, "test": gaps}), *words)
    assert said.code == 3
    assert "'nade' cannot score frames with missing features" in said.err
    assert not (here / "runs").exists()


def test_a_pickle_is_refused_unread(cli, here):
    class Evil:
        def __reduce__(self):
            return (open, ("ran", "w"))

    (here / "data.pkl").write_bytes(pickle.dumps(Evil()))
    said = cli("fit", "--data", "data.pkl")
    assert said.code == 3
    assert "is a pickle" in said.err
    assert not (here / "ran").exists()


def test_training_that_is_not_finite_ends_with_code_4(cli, tiny, here):
    said = cli("fit", "--data", tiny, *FAST, "--lr", "1e38", "--out", "r")
    assert said.code == 4
    assert "not finite at p(z)" in said.err
    batch = arrays_of(here / "r" / "nonfinite-batch-2-0.npz")
    assert set(batch) == {"x", "mask", "index"}


def test_a_full_disk_ends_with_code_3_and_resume_goes_on(cli, tiny, here, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pyrodgm.storage.checkpoint.save_file", full)
        said = cli("fit", "--data", tiny, *FAST, "--out", "r")
    assert said.code == 3
    assert "No space left on device" in said.err
    assert cli("fit", "--resume", "r").code == 0


def test_damage_to_a_run_is_named(cli, tiny, here):
    assert cli("fit", "--data", tiny, *FAST, "--out", "r").code == 0
    state = RunFolder.open(here / "r").latest() / "state.pt"
    state.write_bytes(state.read_bytes()[:-30])
    said = cli("fit", "--resume", "r")
    assert said.code == 3
    assert "cannot read checkpoint" in said.err
    (here / "r" / "config.toml").write_text("[fit\n")
    said = cli("fit", "--resume", "r")
    assert said.code == 2
    assert "config.toml is not valid TOML" in said.err


def test_an_exact_likelihood_is_not_called_a_bound(cli, tiny, here):
    said = cli("fit", "--model", "ar", "--data", tiny, "--steps", "2")
    assert said.code == 0, said.err
    assert "AR, exact" in said.out
    assert "1-sample" not in said.out


@pytest.mark.parametrize("as_json", [False, True])
def test_what_decides_a_fit_is_said_before_it_trains(cli, save_data, tmp_path, as_json):
    x = ragged(dim=3)["train"]
    x[:, 1] = 1
    path = save_data("rows.npz", train=x, extra=x)
    words = ["--model", "sbn", "--data", path, "--steps", "1", "--out", tmp_path / "run"]
    said = cli("fit", *words, "--set", "model.hidden_dim=2", *["--json"] * as_json)
    assert said.code == 0, said.err
    told = [
        f"rows: binary, 3 features; train {len(x) - 2 * round(len(x) / 10)} rows",
        "note: ignored arrays: extra",
        "note: no 'train_lengths': rows are independent, and not the frames of sequences",
        f"note: no 'valid' in the file: {round(len(x) / 10)} of {len(x)} train sequences",
        "note: no 'test' in the file",
        "note: 1 of 3 features never change in train: 1",
        "training, at most 1 steps",
    ]
    places = [said.err.index(part) for part in told]
    assert places == sorted(places)
    assert "note" not in said.out
