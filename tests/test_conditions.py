"""Conditions from a file to a fit, its forecasts and samples; what they are worth, by numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import chi2, norm

import pyrodgm as dgm
from oracles import FALSE_POSITIVE_RATE
from pyrodgm.data import inspect, ragged
from pyrodgm.data.ahead import conditions_to_draw, with_frames_to_come
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.errors import CompatibilityError, DataError, UsageError
from pyrodgm.evaluate.prediction.forecast import forecast
from pyrodgm.guides import NoGuide
from pyrodgm.models import AR, HMM, LDS, RNN, TSBN
from pyrodgm.objectives import ML
from pyrodgm.runs.check import check
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from tiny import ragged as arrays_of_a_dataset
from tiny import tiny_values

pytestmark = pytest.mark.usefixtures("without_drawing")

CHANCE = 0.9  # that a bit is the condition of its frame


def told(kind: str = "binary", train: int = 24) -> dict[str, np.ndarray]:
    """Arrays of a small dataset with two conditions a frame."""
    arrays, rng = arrays_of_a_dataset(kind=kind, train=train), np.random.default_rng(1)
    given = {
        f"{split}_conditions": np.stack(
            [rng.normal(size=len(arrays[split])) + 5e6 for _ in "ab"], 1
        )
        for split in ("train", "valid", "test")
    }
    return arrays | given


def decided(frames: int, length: int = 10) -> Splits:
    """Bits that are the condition of their frame with a probability of 0.9, each."""
    rng = np.random.default_rng(0)

    def part(number: int) -> Sequences:
        given = rng.integers(0, 2, (number, 1))
        x = np.where(rng.random((number, 3)) < CHANCE, given, 1 - given).astype(np.uint8)
        return Sequences(x, np.full(number // length, length), conditions=given)

    return Splits.of("decided", "binary", {s: part(frames) for s in ("train", "valid", "test")})


def without(splits: Splits) -> Splits:
    """The same data without its conditions."""
    parts = {name: Sequences(part.x.numpy(), part.lengths) for name, part in splits.items()}
    return Splits.of("blind", "binary", parts)


def fitted_nats(splits: Splits, make, steps: int) -> tuple[float, int]:
    """Nats per frame of test after maximum likelihood or a bound of it, and parameters of p."""
    torch.manual_seed(0)
    model = make(splits.info)
    if isinstance(model, TSBN):
        guide = dgm.guides.RecurrentBernoulli(model)
        objective = dgm.objectives.LocalRLOO(model, guide)
    else:
        objective = ML(model, NoGuide(model))
    run = dgm.fit(objective, splits, steps=steps, lr=0.05, batch_size=1000, evaluate_every=steps)
    return run.evaluate().nats_per_frame, sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda info: AR(info, history=0), 150),
        (lambda info: RNN(info, hidden_dim=2), 100),
        (lambda info: HMM(info, num_states=2), 100),
        (lambda info: TSBN(info, hidden_dim=1), 150),
    ],
    ids=["ar", "rnn", "hmm", "tsbn"],
)
def test_conditions_that_decide_everything_are_used_in_full(make, steps) -> None:
    """Likelihood ratios are chi-squared: so far may a fit of n frames be from the true model."""
    splits, n = decided(2000), 2000
    on = splits.test.x.numpy() == splits.test.conditions.numpy()
    truth = np.where(on, np.log(CHANCE), np.log(1 - CHANCE)).sum(-1).mean()
    found, size = fitted_nats(splits, make, steps)
    excess = chi2.isf(FALSE_POSITIVE_RATE, size) / (2 * n)
    tolerance = excess + norm.isf(FALSE_POSITIVE_RATE) * np.sqrt(2 * excess / n)
    assert abs(found - truth) < tolerance
    # Blind to the condition, three bits are at best a mixture of two kinds of frame.
    blind, _ = fitted_nats(without(splits), make, 1)
    number = on.sum(-1)
    both = np.logaddexp(
        number * np.log(CHANCE) + (3 - number) * np.log(1 - CHANCE),
        (3 - number) * np.log(CHANCE) + number * np.log(1 - CHANCE),
    )
    assert blind < (both - np.log(2)).mean() + tolerance < found - 0.4


def test_a_file_with_conditions_is_read_written_and_described(save_data, tmp_path) -> None:
    arrays = told()
    arrays["train_conditions"][:, 1] = 3.0
    path = save_data(**arrays)
    splits = ragged.read(path)
    assert splits.info.num_conditions == 2
    given = arrays["train_conditions"]
    np.testing.assert_allclose(splits.info.condition_mean, given.mean(0))
    np.testing.assert_allclose(splits.info.condition_std, [given[:, 0].std(), 0])
    assert any("1 of 2 conditions never change in train" in note for note in splits.notes)
    ragged.write(tmp_path / "again.npz", splits)
    again = ragged.read(tmp_path / "again.npz")
    assert torch.equal(again.test.conditions, splits.test.conditions)
    text = inspect.render(inspect.inspect(path))
    assert "given 2 conditions" in text
    lengths = arrays["test_lengths"]
    batch = splits.test.select([3, 1]).batch([0, 1])
    start = lengths[:3].sum()
    wanted = arrays["test_conditions"][start : start + lengths[3]]
    np.testing.assert_array_equal(batch.conditions[0, : lengths[3]], wanted)
    assert torch.equal(batch.first(2).conditions, batch.conditions[:, :2])


def _edited(change) -> dict[str, np.ndarray]:
    arrays = told()
    change(arrays)
    return arrays


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: a["train_conditions"].__setitem__((2, 1), np.nan),
            "NaN or infinite.*\\[2, 1\\]",
        ),
        (lambda a: a["test_conditions"].__setitem__((0, 0), np.inf), "'test_conditions' has 1 val"),
        (lambda a: a.update(test_conditions=a["test_conditions"][1:]), "rows, but there are"),
        (
            lambda a: a.update(test_conditions=a["test_conditions"][:, 0]),
            "A column: u\\[:, None\\]",
        ),
        (lambda a: a.update(test_conditions=a["test_conditions"][:, :1]), "'train' 2.*'test' 1"),
        (lambda a: a.pop("valid_conditions"), "'train' 2, 'valid' 0"),
        (lambda a: a.update(train_condition=a.pop("train_conditions")), "'train_conditions'"),
    ],
)
def test_conditions_that_are_not_known_or_not_alike_are_refused(save_data, change, words) -> None:
    with pytest.raises(DataError, match=words):
        ragged.read(save_data(**_edited(change)))


def run_of(save_data, tmp_path, model: str = "tsbn", kind: str = "binary", **options):
    """A run on a file with conditions."""
    values = tiny_values(save_data(**told(kind)))
    values["model"] = {"name": model, **options}
    return fit_config(resolve(values), tmp_path / "run")


@pytest.mark.parametrize("model", ["tsbn", "rnn"])
def test_every_question_about_a_run(save_data, tmp_path, model) -> None:
    run = run_of(save_data, tmp_path, model)
    lengths = run.splits.test.lengths
    assert set(run.predict()) >= {"filtered", "copy-last"}
    assert run.forecast(2).mean.shape == (len(lengths), 2, 6)
    ahead = np.zeros((len(lengths), 4, 2)) + 5e6
    found = run.forecast(3, start="end", conditions=ahead)
    assert found.starts.tolist() == lengths.tolist()
    assert np.isfinite(found.mean).all()
    assert np.isnan(found.errors).all()
    shortest = int(lengths.min())
    with pytest.raises(UsageError, match=f"from frame {shortest - 1} on reach no frames"):
        run.forecast(1, start=shortest - 1, conditions=ahead)
    assert len(run.forecast(1, start=shortest, conditions=ahead).rows) == len(lengths)
    assert torch.isfinite(run.sample(2, 3)["x"]).all()
    assert run.sample(2, conditions=ahead[0])["x"].shape == (2, 4, 6)
    assert run.sample(2, 4, prefix=2)["x"].shape == (2, 4, 6)
    assert np.isfinite(check(run, draws=100, posterior_draws=10).gap).all()


def test_a_forecast_follows_the_conditions_of_frames_to_come() -> None:
    """Frames without a past: their means are those of their conditions, as far as these reach."""
    splits = decided(40)
    model = AR(splits.info, history=0)
    guide = NoGuide(model)
    torch.nn.init.normal_(model.x_from_given.weight)
    ahead = np.array([[1.0], [0.0], [1.0]])

    def means(given: np.ndarray) -> np.ndarray:
        centre, spread = splits.info.condition_mean[0], splits.info.condition_std[0]
        with torch.no_grad():
            numbers = model.x_from_given(torch.tensor((given - centre) / spread).float())
        return (numbers + model.x_bias.bias[0]).sigmoid().detach().numpy()

    longer = with_frames_to_come(splits.test, ahead, 3)
    found = forecast(model, guide, longer, horizon=3, samples=5)
    np.testing.assert_allclose(found.mean, np.tile(means(ahead), (4, 1, 1)), rtol=1e-5)
    assert found.starts.tolist() == [10] * 4
    short = forecast(model, guide, splits.test, horizon=4, start=8, samples=5)
    known = splits.test.conditions.numpy().reshape(4, 10, 1)[:, 8:]
    np.testing.assert_allclose(short.mean[:, :2], means(known), rtol=1e-5)
    assert np.isnan(short.mean[:, 2:]).all()
    assert np.isnan(short.quantiles[:, :, 2:]).all()
    with pytest.raises(UsageError, match="cannot be forecast without their 1 conditions"):
        forecast(model, guide, splits.test, horizon=2, start="end", samples=5)


def test_conditions_that_no_forecast_reaches_are_refused() -> None:
    """A sequence that ends long before the start is not forecast."""
    sequences = Sequences(np.ones((65, 1)), np.array([5, 60]), conditions=np.zeros((65, 1)))
    for start, reaches in ((30, False), (50, False), (51, True), (14, True), (15, False)):
        if reaches:
            with_frames_to_come(sequences, np.zeros((10, 1)), 10, start=start)
            continue
        with pytest.raises(UsageError, match="reach no frames after the end of a sequence"):
            with_frames_to_come(sequences, np.zeros((10, 1)), 10, start=start)


def test_conditions_of_frames_to_draw() -> None:
    test = decided(40).test
    given = conditions_to_draw(1, test, 5, 3)
    assert given.shape == (5, 3, 1)
    assert torch.equal(given[4], test.conditions[:3])
    assert conditions_to_draw(1, test, 2, 3, np.ones((7, 1))).shape == (2, 3, 1)
    with pytest.raises(UsageError, match=r"drawing 11 frames .* has 10 frames"):
        conditions_to_draw(1, test, 1, 11)
    with pytest.raises(UsageError, match="given for 2 frames, but 3 are needed"):
        conditions_to_draw(1, test, 1, 3, np.ones((2, 1)))
    with pytest.raises(
        DataError, match=r"shape \(3, 2\).*expected numbers of shape \(1, frames, 1\)"
    ):
        conditions_to_draw(1, test, 1, 3, np.ones((3, 2)))
    with pytest.raises(DataError, match="NaN or infinite"):
        conditions_to_draw(1, test, 1, 1, np.full((1, 1), np.nan))
    with pytest.raises(DataError, match="the data of this model has none"):
        conditions_to_draw(0, without(decided(40)).test, 1, 1, np.ones((1, 1)))


def test_words_that_are_held_out_are_scored(save_data, tmp_path) -> None:
    arrays = arrays_of_a_dataset(dim=60, kind="count")
    rng = np.random.default_rng(2)
    for split in ("train", "valid", "test"):
        arrays[f"{split}_conditions"] = rng.normal(size=(len(arrays[split]), 1))
        if split != "train":
            arrays[f"{split}_held_out"] = rng.poisson(1.0, arrays[split].shape)
    values = tiny_values(save_data(**arrays))
    values["model"] |= {"name": "hmsbn"}
    run = fit_config(resolve(values), tmp_path / "run")
    assert "guide" in run.word_scores("test")


def test_a_model_that_takes_none_says_which_do(tmp_path) -> None:
    rng = np.random.default_rng(0)
    part = Sequences(rng.normal(size=(20, 2)), np.array([10, 10]), conditions=np.ones((20, 1)))
    splits = Splits.of("real", "real", dict.fromkeys(("train", "valid", "test"), part))
    objective = ML(model := LDS(splits.info), NoGuide(model))
    with pytest.raises(CompatibilityError, match=r"1 conditions, but LDS takes none; .*tsbn.*hmm"):
        dgm.fit(objective, splits, steps=1)


def test_the_command_line(cli, save_data, tmp_path) -> None:
    data, run = save_data(**told()), tmp_path / "run"
    said = cli("fit", "--model", "rnn", "--data", data, "--out", run, "--steps", 3)
    assert said.code == 0
    np.save(tmp_path / "ahead.npy", np.full((4, 2), 5e6))
    ask = ("predict", run, "--horizon", 3, "--from", "end")
    said = cli(*ask)
    assert said.code == 2
    assert "pyrodgm predict --conditions FILE" in said.err
    said = cli(*ask, "--conditions", tmp_path / "ahead.npy", "--json", "--out", tmp_path / "f.npz")
    assert said.code == 0
    assert len(json.loads(said.out)["horizon"]) == 3
    assert "goes with --horizon" in cli("predict", run, "--conditions", tmp_path / "ahead.npy").err
    out = ("--out", tmp_path / "s.npz")
    assert "using conditions of sequences of the test split" in cli("sample", run, *out).err
    said = cli("sample", run, "--conditions", tmp_path / "ahead.npy", *out)
    assert (said.code, said.err) == (0, "")
    with np.load(tmp_path / "s.npz") as file:
        assert file["x"].shape == (1, 4, 6)
    said = cli("sample", run, "--conditions", tmp_path / "none.npy", *out)
    assert "cannot read conditions from" in said.err
    assert "trivial predictors are not" in cli("predict", run).out
    for command in (("evaluate", run), ("report", run), ("data", "inspect", data)):
        assert cli(*command).code == 0
