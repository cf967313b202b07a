import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.errors import DataError, UsageError

LENGTHS = np.array([2, 3, 1])


@pytest.fixture
def split():
    return Sequences(np.arange(12, dtype=np.float32).reshape(6, 2), LENGTHS)


def test_batch_pads_with_zeros_and_keeps_the_order_of_rows(split):
    batch = split.batch([2, 1])
    expected = [[[10, 11], [0, 0], [0, 0]], [[4, 5], [6, 7], [8, 9]]]
    assert batch.x.tolist() == expected
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.index.tolist() == [2, 1]
    assert batch.num_frames == 4


def test_batch_has_the_default_dtype_whatever_is_stored():
    split = Sequences(np.ones((3, 2), np.uint8), np.array([3]))
    assert split.x.dtype == torch.uint8
    assert split.batch([0]).x.dtype == torch.get_default_dtype()


def test_batch_leaves_the_stored_frames_alone(split):
    before = split.x.clone()
    split.batch([0, 1, 2]).x.add_(1)
    assert torch.equal(split.x, before)


def test_select_gives_the_same_sequences(split):
    part = split.select([2, 0])
    assert part.lengths.tolist() == [1, 2]
    assert torch.equal(part.sequence(1), split.sequence(0))


def test_facts_are_measured_on_train_and_survive_json(split):
    longer = Sequences(np.zeros((9, 2), np.float32), np.array([9]))
    parts = {"train": split, "valid": split, "test": longer}
    facts = {"image_shape": (1, 2), "words": ("a", "b"), "frame_labels": ("1790", "1791")}
    info = Splits.of("toy", "real", parts, **facts).info
    assert info.mean == (5.0, 6.0)
    np.testing.assert_allclose(info.std, split.x.numpy().std(0))
    assert (info.mean_length, info.max_length, info.dim) == (2.0, 9, 2)
    assert DataInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


NAN = np.nan
GAPS = np.array([[0, 4], [NAN, 6], [2, NAN], [NAN, NAN], [4, 2], [1, 1]], np.float32)


@pytest.fixture
def gaps():
    return Sequences(GAPS, LENGTHS)


def test_batches_fill_what_is_missing_with_the_mean_of_what_training_saw(gaps, split):
    splits = Splits.of("toy", "real", {"train": gaps, "valid": split, "test": gaps.select([1])})
    assert splits.info.mean == (1.75, 3.25)
    for part, row in ((splits.train, 1), (splits.test, 0), (splits.test.select([0]), 0)):
        batch = part.batch([row])
        assert part.uncentred(batch.x).tolist() == [[[2, 3.25], [1.75, 3.25], [4, 2]]]
        assert batch.seen.tolist() == [[[True, False], [False, False], [True, True]]]
    padded = splits.train.batch([2, 0])
    assert padded.x[0].tolist() == [[1 - 1.75, 1 - 3.25], [0, 0]]
    assert padded.seen[0].tolist() == [[True, True], [False, False]]
    assert splits.valid.batch([0]).seen is None


def test_gaps_in_a_split_are_told_from_a_batch_without(gaps):
    assert gaps.batch([2]).seen.tolist() == [[[True, True]]]


def test_batches_leave_the_gaps_in_what_is_stored(gaps):
    gaps.batch([0, 1, 2])
    np.testing.assert_array_equal(gaps.x.numpy(), GAPS)


@pytest.mark.parametrize(
    ("missing", "message"),
    [([1], r"1 of the 2 features of 'toy' \(1\)"), ([0, 1], "'train' has only missing values")],
)
def test_a_feature_that_training_never_observes_is_refused(missing, message):
    x = GAPS.copy()
    x[:, missing] = NAN
    parts = dict.fromkeys(("train", "valid", "test"), Sequences(x, LENGTHS))
    with pytest.raises(DataError, match=message):
        Splits.of("toy", "real", parts)


def test_held_out_frames_go_where_their_sequence_goes(split):
    x = split.x.numpy()
    both = Sequences(x, LENGTHS, held_out=100 + x)
    batch, held_out = both.batch([2, 1]), both.held_out_batch([2, 1])
    assert torch.equal(held_out, (batch.x + 100) * batch.mask[..., None])
    assert held_out.dtype == torch.get_default_dtype()
    part = both.select([1, 0])
    assert torch.equal(part.held_out_batch([1]), both.held_out_batch([0]))
    assert part.placed(np.zeros(2), None).held_out is not None
    with pytest.raises(DataError, match="nothing is held out"):
        split.held_out_batch([0])


def test_training_looks_at_augmented_sequences_where_there_are_some(split):
    splits = Splits.of("toy", "real", dict.fromkeys(("train", "valid", "test"), split))
    assert splits.training is splits.train
    more = split.select([0, 0, 1])
    assert replace(splits, augmented=more).training is more


def test_unknown_split_is_named(split):
    splits = Splits.of("toy", "real", dict.fromkeys(("train", "valid", "test"), split))
    assert splits["valid"] is splits.valid
    with pytest.raises(UsageError, match="unknown split 'tset'; did you mean 'test'"):
        splits["tset"]


@pytest.mark.parametrize(
    ("x", "lengths", "part"),
    [
        (np.zeros(6), [6], r"shape \(6,\); expected two dimensions \(frames, features\)"),
        (np.zeros((6, 2)), [2, 3], "'x_lengths' adds up to 5 frames, but 'x' has 6"),
        (np.zeros((6, 2)), [2.5, 3.5], "a vector of integers"),
        (np.zeros((6, 2)), [2, 5], "adds up to 7"),
        (np.zeros((6, 2)), [7, -1], "gives sequence 1 the length -1"),
    ],
)
def test_frames_that_lengths_do_not_cut_are_refused(x, lengths, part):
    with pytest.raises(DataError, match=part):
        Sequences(x, np.array(lengths))


def test_splits_that_do_not_go_together_are_refused():
    def part(x):
        return Sequences(np.array(x, np.float32), np.array([len(x)]))

    parts = dict.fromkeys(("train", "valid", "test"), part([[0, 1], [1, 0]]))
    with pytest.raises(DataError, match="features per frame: 'train' 2, 'valid' 2, 'test' 1"):
        Splits.of("toy", "binary", {**parts, "test": part([[1]])})
    with pytest.raises(DataError, match=r"frame 1 of 'test' has 2 in feature 0.*must be 0 or 1"):
        Splits.of("toy", "binary", {**parts, "test": part([[1, 1], [2, 1]])})
    with pytest.raises(DataError, match=r"has 255 in .* between 0 and 1"):
        Splits.of("toy", "unit", {**parts, "train": part([[1, 255]])})
    with pytest.raises(DataError, match="'toy' has train, valid; expected train, valid, test"):
        Splits.of("toy", "binary", {key: parts[key] for key in ("train", "valid")})


def test_nothing_but_zeros_held_out_is_nothing_held_out(split):
    x = split.x.numpy()
    assert Sequences(x, LENGTHS, held_out=0 * x).held_out is None


def test_changes_are_measured_within_training_sequences():
    x = np.array([[0.0, 1.0], [1.0, 1.0], [100.0, 1.0], [102.0, np.nan]], np.float32)
    part = Sequences(x, np.array([2, 2]))
    real = Splits.of("x", "real", dict.fromkeys(("train", "valid", "test"), part)).info
    assert real.step_std == pytest.approx([0.5, 0.0])
    bits = Sequences(np.eye(2, dtype=np.uint8), np.array([2]))
    assert (
        Splits.of("x", "binary", dict.fromkeys(("train", "valid", "test"), bits)).info.step_std
        == ()
    )


def test_changes_of_bytes_do_not_wrap():
    x = np.array([[200], [190], [205], [195]], np.uint8)
    parts = dict.fromkeys(("train", "valid", "test"), Sequences(x, np.array([4])))
    changes = np.diff(x[:, 0].astype(float))
    assert Splits.of("bytes", "real", parts).info.step_std == pytest.approx([changes.std()])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.array([[1.0], [np.inf]]),
            "'x' has infinite values .*: 1, the first in sequence 1",
        ),
        (np.array([[1.0], [1e300]]), "infinite values"),
        (np.array([[1], [2**53 + 1]]), r"whole numbers beyond 2\^53.*; subtract an offset"),
        (np.array([["a"], ["b"]]), "'x' holds <U1 values"),
        (np.zeros((0, 1)), "'x' is empty"),
        (np.array([[1.0], [1j]]), "complex128"),
    ],
)
def test_arrays_from_python_are_checked_as_those_of_files(x, message):
    with pytest.raises(DataError, match=message):
        Sequences(x, np.ones(len(x), int))


def test_held_out_counts_from_python_are_checked_too():
    with pytest.raises(DataError, match="'x_held_out' has shape"):
        Sequences(np.ones((2, 2)), np.array([2]), held_out=np.ones((1, 2)))


def test_arrays_of_any_type_are_kept_as_precisely_as_they_are():
    for dtype, kept in (("f2", "f4"), (">f8", "f8"), ("?", "u1"), ("i8", "f8"), ("f4", "f4")):
        x = np.ones((2, 1), dtype)
        assert Sequences(x, np.array([2])).x.numpy().dtype == np.dtype(kept)


def test_what_moves_far_from_zero_moves_in_batches():
    walk = np.array([[0.0, 1.0], [0.3, 1.0], [0.4, 1.0], [0.1, 1.0]])
    far = Sequences(np.add(walk, [5_411_000, 7e8]), np.array([4]))
    splits = Splits.of("gps", "real", dict.fromkeys(("train", "valid", "test"), far))
    np.testing.assert_allclose(splits.info.std, [walk[:, 0].std(), 0])
    batch = splits.test.batch([0])
    np.testing.assert_allclose(batch.x[0], walk - walk.mean(0), atol=1e-7)
    np.testing.assert_allclose(splits.test.uncentred(batch.x)[0], far.x, rtol=1e-13)


def test_a_feature_that_its_type_cannot_show_to_move_is_named():
    x = np.array([[5_411_000.0, 1], [5_411_000.4, 2]], np.float32)
    part = Sequences(x, np.array([2]))
    splits = Splits.of("gps", "real", dict.fromkeys(("train", "valid", "test"), part))
    assert splits.info.std[0] == 0
    (note,) = splits.notes
    assert "1 of 2 features vary by no more than the rounding" in note
    assert note.endswith(
        ": 0; if they do vary, store them in double precision, or subtract their mean"
    )
