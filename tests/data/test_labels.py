"""Labels of frames as conditions: one-hot, in the order of the classes, for new data too."""

import numpy as np
import pytest

from pyrodgm import Run
from pyrodgm.data import ragged
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.data.evaluation_files import read_evaluation
from pyrodgm.data.labels import classes_of, labels_as_conditions
from pyrodgm.errors import DataError, UsageError
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve

LABELS = np.array([10, 9, 10, 2, 9, 2])
BITS = np.eye(3, dtype=np.uint8)[[0, 1, 0, 2, 1, 2]]  # the label says where the one is
ROWS = dict.fromkeys(("train", "valid", "test"), BITS)
WITH = {f"{split}_labels": LABELS for split in ROWS}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LABELS, ("2", "9", "10")),
        (LABELS.astype(float)[:, None], ("2", "9", "10")),
        (LABELS == 9, ("0", "1")),
        (np.array(["b", "a", "b", "c", "a", "c"]), ("a", "b", "c")),
    ],
)
def test_labels_are_one_hot_conditions(save_data, labels, classes):
    path = save_data(**ROWS, **dict.fromkeys(WITH, labels))
    splits = ragged.read(path, labels=True)
    assert (splits.info.classes, splits.info.num_conditions) == (classes, len(classes))
    coded = splits.test.conditions.numpy()
    assert (coded.sum(1) == 1).all()
    words = [classes[place] for place in coded.argmax(1)]
    kept = [str(int(x)) if not isinstance(x, str) else x for x in labels.ravel().tolist()]
    assert words == kept
    assert ragged.read(path).info.num_conditions == 0
    assert "labels=True" in ragged.read(path).notes[0]


def test_labels_stand_behind_other_conditions_and_follow_their_rows(save_data):
    beside = np.arange(30.0)[:, None]
    path = save_data(
        train=np.tile(BITS, (5, 1)), train_conditions=beside, train_labels=np.arange(30) % 3
    )
    splits = ragged.read(path, labels=True)
    for _, part in splits.items():
        given = part.conditions.numpy()
        np.testing.assert_array_equal(given[:, 1:], np.eye(3)[given[:, 0].astype(int) % 3])
    with pytest.raises(UsageError, match="further conditions"):
        labels_as_conditions(splits.info, ["1"], 2, 1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no array 'train_labels'"),
        ({"train_labels": LABELS}, "no array 'valid_labels'"),
        (WITH | {"test_labels": LABELS[:5]}, "has 5 labels, but 'test' has 6 frames"),
        (
            WITH | {"test_labels": LABELS + 1},
            "has the label '11', which does not occur in training",
        ),
        (WITH | {"test_labels": LABELS + 0.5}, "whole number or a word"),
        (WITH | {"test_labels": np.full(6, np.nan)}, "whole number or a word"),
    ],
)
def test_other_labels_are_refused(save_data, arrays, message):
    with pytest.raises(DataError, match=message):
        ragged.read(save_data(**ROWS, **arrays), labels=True)


def test_more_classes_than_can_be_conditions_are_refused(save_data):
    rows = np.arange(1200) % 2
    with pytest.raises(DataError, match="1200 different labels"):
        ragged.read(save_data(train=rows[:, None], train_labels=np.arange(1200)), labels=True)


def test_new_data_has_the_classes_of_training(save_data):
    info = ragged.read(save_data(**ROWS, **WITH), labels=True).info
    for name in ("labels", "x_labels"):
        found = read_evaluation(save_data("new.npz", x=BITS[:2], **{name: [9, 2]}), info)["x"]
        np.testing.assert_array_equal(found.conditions.numpy(), [[0, 1, 0], [1, 0, 0]])
    with pytest.raises(DataError, match="has the label '3'"):
        read_evaluation(save_data("new.npz", x=BITS[:1], labels=[3]), info)
    with pytest.raises(DataError, match="'<frames>_labels'"):
        read_evaluation(save_data("new.npz", x=BITS[:1]), info)


def test_a_class_is_drawn_as_asked(save_data, tmp_path, cli):
    """The bits follow from the class, so a fitted model draws those of the class."""
    arrays = ROWS | {"image_shape": np.array([1, 3])} | WITH
    values = {
        "model": {"name": "vae", "latent_dim": 1, "hidden_dim": 8},
        "guide": {"hidden_dim": 4},
        "data": {"source": str(save_data(**arrays)), "labels": True},
        "fit": {"steps": 300, "lr": 0.05, "batch_size": 6},
    }
    run = fit_config(resolve(values), tmp_path / "run")
    drawn = Run.load(tmp_path / "run").sample(60, labels=["10", "2"])["x"][:, 0]
    assert drawn[::2].mean(0).argmax() == 0
    assert drawn[1::2].mean(0).argmax() == 2
    assert drawn[::2, 0].mean() > 0.9
    for refused in ({"labels": ["3"]}, {"labels": ["2"], "prefix": 1}):
        with pytest.raises(UsageError):
            run.sample(2, **refused)
    out = tmp_path / "tens.npz"
    asked = ("--num", 40, "--label", "10", "--out", out)
    assert cli("sample", tmp_path / "run", *asked).code == 0
    assert np.load(out)["x"][:, 0, 0].mean() > 0.9
    assert "did you mean" in cli("sample", tmp_path / "run", "--label", "1", "--out", out).err


def test_labels_of_a_model_without_are_refused(fitted):
    with pytest.raises(UsageError, match=r"fitted without.*data\.labels=true"):
        Run.load(fitted).sample(1, labels=["3"])


def test_classes_of_other_splits_have_the_columns_of_the_fit(save_data, tmp_path):
    info = ragged.read(save_data(**ROWS, **WITH), labels=True).info
    labels = dict.fromkeys(WITH, np.array([10, 2, 10, 2, 10, 2]))
    fewer = ragged.read(save_data(**ROWS, **labels), labels=True)
    assert (info.classes, fewer.info.classes) == (("2", "9", "10"), ("2", "10"))
    found = EvaluationData.of_splits(fewer, info)["test"].conditions
    assert found.tolist() == np.eye(3)[[2, 0, 2, 0, 2, 0]].tolist()
    labels = dict.fromkeys(WITH, np.array([10, 2, 11, 2, 10, 2]))
    other = ragged.read(save_data(**ROWS, **labels), labels=True)
    with pytest.raises(DataError, match="has the label '11', which does not occur in training"):
        EvaluationData.of_splits(other, info)


def test_words_that_are_no_whole_numbers_are_sorted_as_words():
    assert classes_of(["10", "9"]) == ("9", "10")
    assert classes_of(["--1", "9", "10"]) == ("--1", "10", "9")
    assert classes_of(["²", "9", "10"]) == ("10", "9", "²")
