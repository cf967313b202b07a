import hashlib
import pickle

import numpy as np
import pytest

from pyrodgm.data import ragged
from pyrodgm.data.base import SPLITS
from pyrodgm.errors import DataError


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        path = tmp_path / "toy.npz"
        np.savez(path, **arrays)
        return path

    return write


def frames(count=5, dim=2, dtype=np.float64):
    return np.linspace(-1, 2, count * dim).reshape(count, dim).astype(dtype)


def three(x):
    return dict.fromkeys(SPLITS, x)


def test_sequences_come_back_in_order_and_as_they_were_stored(save):
    x = frames()
    lengths = dict.fromkeys((f"{split}_lengths" for split in SPLITS), np.array([2, 3]))
    path = save(**three(x), **lengths)
    splits = ragged.read(path)
    assert splits.info.kind == "real"
    assert splits.notes == ()
    assert splits.train.lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(splits.test.sequence(1), x[2:])
    assert splits.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_arrays_without_lengths_are_rows(save):
    splits = ragged.read(save(**three(frames())))
    assert splits.train.lengths.tolist() == [1] * 5
    assert splits.info.max_length == 1


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        (np.array([[0, 1]], np.int64), "binary", "uint8"),
        (np.array([[True, False]]), "binary", "uint8"),
        (np.array([[0.0, 1.0]]), "binary", "uint8"),
        (np.array([[0.0, 0.5]], np.float16), "unit", "float32"),
        (np.array([[0, 2]], np.uint16), "count", "float32"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "binary", "float32"),
        (np.array([[-0.5, 0.5]], np.float32), "real", "float32"),
        (np.array([[-0.5, 0.5]]), "real", "float64"),
        (np.array([[-2, 3]]), "real", "float64"),
    ],
)
def test_kind_is_inferred_and_stored_small(save, values, kind, stored):
    splits = ragged.read(save(**three(values)))
    assert splits.info.kind == kind
    assert splits.train.x.numpy().dtype == stored
    np.testing.assert_array_equal(splits.train.x.numpy(), values.astype(stored))


def test_one_grey_value_in_any_split_decides_the_kind(save):
    binary = np.array([[0.0, 1.0]])
    assert ragged.read(save(train=binary, valid=binary, test=binary / 2)).info.kind == "unit"


def test_bytes_are_real_with_a_hint(save):
    splits = ragged.read(save(**three(np.array([[0, 255]], np.uint8))))
    assert splits.info.kind == "real"
    assert "kind=unit" in splits.notes[1]


def test_whole_numbers_are_counts_with_a_hint(save):
    x = np.array([[0, 255]])
    splits = ragged.read(save(**three(x)))
    assert splits.info.kind == "count"
    assert "kind=real" in splits.notes[1]
    asked = ragged.read(save(**three(x)), kind="real")
    assert asked.info.kind == "real"
    assert not any("kind=" in note for note in asked.notes)
    with pytest.raises(DataError, match="'binary' was requested"):
        ragged.read(save(**three(x)), kind="binary")


def gaps():
    x = frames()
    x[[1, 3, 3], [0, 0, 1]] = np.nan
    return x


def test_missing_values_stay_missing(save):
    x = gaps()
    splits = ragged.read(save(train=x, valid=frames(), test=x[:2]))
    np.testing.assert_array_equal(splits.train.x.numpy(), x)
    np.testing.assert_allclose(splits.info.mean, np.nanmean(x, 0))
    np.testing.assert_allclose(splits.info.std, np.nanstd(x, 0))
    batch = splits.test.batch([0, 1])
    assert batch.seen.tolist() == [[[True, True]], [[False, True]]]
    assert batch.x[1, 0, 0] == 0
    assert splits.valid.batch([0]).seen is None


def test_missing_values_follow_their_sequence_into_a_split(save):
    x = np.repeat(np.arange(10.0)[:, None], 2, 1)
    x[5, 1] = np.nan
    splits = ragged.read(save(train=x))
    members = [
        (name, row)
        for name in SPLITS
        for row in range(len(splits[name]))
        if splits[name].sequence(row)[0, 0] == 5
    ]
    ((name, row),) = members
    assert splits[name].batch([row]).seen.tolist() == [[[True, False]]]


COUNTS = np.array([[0, 2], [1, 0], [3, 1], [0, 0]])


def test_held_out_counts_come_with_their_frames(save):
    path = save(
        **three(COUNTS),
        **{f"{split}_lengths": np.array([1, 3]) for split in SPLITS},
        valid_held_out=COUNTS + 1,
        test_held_out=(COUNTS + 2).astype(np.uint16),
    )
    splits = ragged.read(path)
    assert splits.train.held_out is None
    np.testing.assert_array_equal(splits.valid.held_out_batch([1])[0], COUNTS[1:] + 1)
    np.testing.assert_array_equal(splits.test.held_out_batch([1])[0], COUNTS[1:] + 2)
    assert splits.valid.batch([0]).x.tolist() == [[[0, 2]]]


def test_held_out_counts_show_that_zeros_and_ones_are_counts(save):
    bits = np.array([[0, 1]])
    splits = ragged.read(save(**three(bits), test_held_out=bits + 1))
    assert splits.info.kind == "count"


def test_held_out_counts_follow_their_sequence_into_a_split(save):
    x = np.arange(20).reshape(10, 2)
    splits = ragged.read(save(train=x, train_held_out=x + 1))
    for name in SPLITS:
        assert splits[name].held_out.equal(splits[name].x + 1)


@pytest.mark.parametrize(("dim", "pitch"), [(88, 21), (87, None)])
def test_piano_rolls_are_recognised(save, dim, pitch):
    assert ragged.read(save(**three(np.eye(dim)))).info.lowest_pitch == pitch


def test_missing_splits_are_held_out_by_sequence(save):
    lengths = np.arange(1, 31)
    x = np.repeat(np.arange(30.0), lengths)[:, None]  # every frame knows its sequence
    path = save(train=x, train_lengths=lengths)
    splits = ragged.read(path)
    members = [
        [int(splits[name].sequence(row)[0]) for row in range(len(splits[name]))] for name in SPLITS
    ]
    assert [len(rows) for rows in members] == [24, 3, 3]
    assert sorted(row for rows in members for row in rows) == list(range(30))
    for name, rows in zip(SPLITS, members, strict=True):
        assert splits[name].lengths.tolist() == [row + 1 for row in rows]
    assert splits.notes[0].startswith("no 'valid' in the file: 3 of 30 train sequences")
    assert splits.notes[1].startswith("no 'test' in the file")
    assert ragged.read(path).valid.x.equal(splits.valid.x)
    assert not ragged.read(path, split_seed=1).valid.x.equal(splits.valid.x)


def test_at_least_one_sequence_is_held_out(save):
    splits = ragged.read(save(train=frames(2), test=frames(1)))
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (1, 1, 1)


def test_image_shape_must_fit(save):
    path = save(**three(frames(dim=6)))
    assert ragged.read(path, image_shape=(2, 3)).info.image_shape == (2, 3)
    with pytest.raises(DataError, match=r"whose product is the number of features \(6 features"):
        ragged.read(path, image_shape=(2, 2))


CONTENTS = {
    "binary": three(frames() > 0),
    "real": three(frames()),
    "gaps": three(gaps()),
    "bits with gaps": three(np.where(gaps() > 0, 1, gaps() * 0)),
    "counts": three(COUNTS),
    "counts with gaps": three(np.where(COUNTS == 3, np.nan, COUNTS)),
    "held out": {**three(COUNTS), "test_held_out": COUNTS},
}


@pytest.mark.parametrize("content", CONTENTS)
def test_write_then_read_gives_the_same(save, tmp_path, content):
    splits = ragged.read(save(**CONTENTS[content]))
    target = tmp_path / "copy.npz"
    ragged.write(target, splits)
    ragged.write(target, splits)  # replaces
    again = ragged.read(target)
    assert again.info.kind == splits.info.kind
    for split in SPLITS:
        np.testing.assert_array_equal(again[split].x.numpy(), splits[split].x.numpy())
        assert again[split].lengths.tolist() == splits[split].lengths.tolist()
        assert (again[split].held_out is None) == (splits[split].held_out is None)
    if content == "held out":
        assert again.test.held_out.equal(splits.test.held_out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.npz", "toy.npz"]


X = frames()
INFINITE = X.copy()
INFINITE[[2, 3, 4], [0, 1, 0]] = np.nan, np.inf, -np.inf
REFUSED = {
    "no train": ({"test": X}, "no array 'train'; known: test"),
    "train by another name": ({"training": X}, "array 'training'; did you mean 'train'"),
    "train with a sign": ({"X_train": X}, "array 'X_train'; did you mean 'train'"),
    "another word for valid": ({"train": X, "val": X}, "array 'val'; did you mean 'valid'"),
    "a whole word for valid": ({"train": X, "validation": X}, "did you mean 'valid'"),
    "lengths of nothing": (
        {"train": X, "lengths": [2, 3]},
        "unknown array 'lengths'; did you mean 'train_lengths'",
    ),
    "a length of nothing": ({"train": X, "length": [2, 3]}, "did you mean 'train_lengths'"),
    "lengths of test alone": (
        {"train": X, "train_lengths": [2, 3], "test": X, "lengths": [2, 3]},
        "unknown array 'lengths'; did you mean 'test_lengths'",
    ),
    "lengths without frames": (
        {"train": X, "train_lengths": [2, 3], "valid_lengths": [5]},
        "there is an array 'valid_lengths' but no 'valid'",
    ),
    "misspelt facts": ({"train": X, "framerate": 5}, "did you mean 'frame_rate'"),
    "a misspelt word": ({"train": X, "image_shap": (1, 2)}, "did you mean 'image_shape'"),
    "misspelt train": ({"trian": X}, "unknown array 'trian'; did you mean 'train'"),
    "misspelt lengths": (
        {"train": X, "train_lenghts": [2, 3]},
        "unknown array 'train_lenghts'; did you mean 'train_lengths'",
    ),
    "lengths of train only": (
        {"train": X, "train_lengths": [2, 3], "test": X},
        "'train' and 'test' differ: one has lengths",
    ),
    "strings": ({"train": np.array([["a"]])}, "'train' holds <U1 values; expected booleans"),
    "complex": ({"train": X * 1j}, "'train' holds complex128 values"),
    "vector": ({"train": X[:, 0]}, r"'train' has shape \(5,\); expected two dimensions"),
    "three dimensions": ({"train": X[None]}, r"shape \(1, 5, 2\).*numpy.full\(N, T\)"),
    "empty": ({"train": X, "test": X[:0]}, r"'test' is empty, shape \(0, 2\)"),
    "infinity": (
        {"train": INFINITE, "train_lengths": [2, 3]},
        r"'train' has infinite values .*: 2, the first in sequence 1, frame 1, feature 1; .*NaN",
    ),
    "beyond float32": ({"train": X, "test": X * 1e300}, "'test' has infinite values"),
    "nothing seen in train": ({"train": X * np.nan}, "'train' has only missing values"),
    "nothing seen in test": ({"train": X, "test": X * np.nan}, "'test' has only missing values"),
    "a feature never seen": (
        {**three(np.where([True, False], X, np.nan)), "test": X},
        r"training never observes 1 of the 2 features of 'toy' \(1\)",
    ),
    "held out of other frames": (
        {**three(COUNTS), "test_held_out": COUNTS[1:]},
        r"'test_held_out' has shape \(3, 2\) .* as 'test', \(4, 2\)",
    ),
    "held-out words": ({**three(COUNTS), "test_held_out": COUNTS.astype(str)}, "and type <U21"),
    "held-out gaps": (
        {**three(COUNTS), "test_held_out": COUNTS * np.nan},
        "NaN or infinity; where",
    ),
    "held-out real numbers": (
        {**three(X), "test_held_out": X},
        "'test_held_out' must be counts, but this data is 'real'",
    ),
    "misspelt held out": (
        {"train": COUNTS, "tests_held_out": COUNTS},
        "unknown array 'tests_held_out'; did you mean 'test_held_out'",
    ),
    "sum of lengths": (
        {"train": X, "train_lengths": [2, 2]},
        "'train_lengths' adds up to 4 frames, but 'train' has 5",
    ),
    "zero length": (
        {"train": X, "train_lengths": [2, 0, 3]},
        "'train_lengths' gives sequence 1 the length 0",
    ),
    "negative length": ({"train": X, "train_lengths": [6, -1]}, "sequence 1 the length -1"),
    "broken lengths": ({"train": X, "train_lengths": [2.5, 2.5]}, "a vector of integers"),
    "matrix of lengths": ({"train": X, "train_lengths": [[2, 3]]}, r"has shape \(1, 2\)"),
    "features": ({"train": X, "test": X[:, :1]}, "features per frame: 'train' 2, 'test' 1"),
    "one sequence": ({"train": X, "train_lengths": [5]}, "no valid and no test; cut it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arrays_are_refused(save, case):
    arrays, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        ragged.read(save(**arrays))


def test_other_files_are_refused(tmp_path, save):
    def refused(name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            ragged.read(path)

    whole = save(**three(X)).read_bytes()
    refused("a.pickle", pickle.dumps([1]), "is a pickle.*run arbitrary code.*savez_compressed")
    refused("a.pkl", b"", "is a pickle")
    refused("a.npy", b"", "holds one array.*numpy.load")
    refused("a.csv", b"1,2", r"is a text file.*numpy.loadtxt\('a.csv', delimiter=','\).*savez")
    refused("a.dat", b"1,2", "not an npz file")
    refused("cut.npz", whole[:-40], "not an npz file, or is truncated")
    damaged = bytearray(whole)
    damaged[damaged.index(b"\x93NUMPY") + 140] ^= 255
    refused("damaged.npz", bytes(damaged), "cannot be read.*is it complete")
    with pytest.raises(DataError, match="there is no file"):
        ragged.read(tmp_path / "absent.npz")


def test_object_arrays_are_refused_unread(save):
    sequences = np.array([X, X[:2]], dtype=object)
    with pytest.raises(
        DataError, match=r"'train' in .* holds Python objects, .*pickles.*concatenate"
    ):
        ragged.read(save(train=sequences))


def test_other_arrays_are_left_alone(save):
    other = np.array([{"any": "object"}], dtype=object)
    splits = ragged.read(save(**three(X), train_names=other))
    ignored, lengths = splits.notes
    assert ignored == "ignored arrays: train_names"
    assert lengths == "no 'train_lengths': rows are independent, and not the frames of sequences"


REAL = {
    "mocap/mit_mocap.npz": ("real", 49, 31, 4),
    "mocap/cmu35_walk.npz": ("real", 50, 16, 4),
    "mnist/binarized_mnist.npz": ("binary", 784, 50000, 10000),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_fit_without_code(real_data, name):
    splits = ragged.read(real_data(name))
    facts = (splits.info.kind, splits.info.dim, len(splits.train), len(splits.test))
    assert facts == REAL[name]


def test_copy_last_error_of_mit_mocap(real_data):
    test = ragged.read(real_data("mocap/mit_mocap.npz")).test
    errors = [test.sequence(row).diff(dim=0).square().sum(1).mean() for row in range(4)]
    np.testing.assert_allclose(errors, [4.89, 4.11, 4.94, 7.39], atol=0.005)


def test_numbers_below_the_normal_range_are_zero(save_data):
    x = np.array([[0.5, 1e-40, 0.0], [-1e-42, np.nan, 2.0]], np.float32)
    x = np.concatenate([x, np.ones((2, 3), np.float32)])
    arrays = dict.fromkeys(("train", "valid", "test"), x)
    lengths = {f"{split}_lengths": np.array([2, 2]) for split in arrays}
    read = ragged.read(save_data(**arrays, **lengths))
    expected = np.array([[0.5, 0, 0], [0, np.nan, 2.0]], np.float32)
    np.testing.assert_array_equal(read.train.x.numpy()[:2], expected)
