import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.data import local
from pyrodgm.data.published import Published
from pyrodgm.errors import DataError, UsageError

TINY = Published(
    name="tiny",
    folder="small",
    file="tiny.npz",
    what="six numbers",
    shape=((2, 3), (1, 1), (1, 2)),
    dim=2,
    options={"frame_rate": 3.0},
    notes=("handle with care",),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(local.ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(local.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    return tmp_path


def write(path, frames=3):
    x = np.linspace(-1, 1, 2 * frames).reshape(frames, 2)
    lengths = {"train_lengths": [frames - 1, 1], "valid_lengths": [1], "test_lengths": [2]}
    np.savez(path, train=x, valid=x[:1], test=x[:2], **lengths)
    return path


def test_it_is_found_and_keeps_its_name_and_facts(folder):
    write(folder / "tiny.npz")
    splits = TINY.load()
    assert (splits.info.name, splits.info.frame_rate) == ("tiny", 3.0)
    assert splits.notes == ("handle with care",)
    assert splits.sha256 == local.sha256(folder / "tiny.npz")


def test_a_path_may_be_given(folder):
    assert TINY.load(str(write(folder / "other.npz"))).train.num_frames == 3


def test_what_is_not_there_or_of_another_size_is_refused(folder):
    with pytest.raises(DataError, match=r"'tiny' is not on this machine.*It is six numbers"):
        TINY.load()
    write(folder / "tiny.npz", frames=4)
    with pytest.raises(
        DataError, match=r"not the published tiny.*\(\(2, 4\), \(1, 1\), \(1, 2\)\)"
    ):
        TINY.load()


@pytest.fixture
def real(real_data, monkeypatch):
    def load(name, file, **options):
        monkeypatch.setenv(local.ENVIRONMENT, str(real_data(file).parents[1]))
        return data.load(name, **options)

    return load


def test_copy_last_error_of_mocap(real):
    splits = real("mocap", "mocap/mit_mocap.npz")
    assert (splits.info.kind, splits.info.dim) == ("real", 49)
    assert splits.test.lengths.tolist() == [100, 100, 100, 26]
    errors = [splits.test.sequence(row).diff(dim=0).square().sum(1).mean() for row in range(4)]
    np.testing.assert_allclose(errors, [4.89, 4.11, 4.94, 7.39], atol=0.005)
    other = real("mocap", "mocap/mit_mocap.npz", split_seed=1)
    assert len(other.valid) == 4
    assert not other.valid.x.equal(splits.valid.x)


def test_cmu35_walk_is_whole(real):
    splits = real("cmu35-walk", "mocap/cmu35_walk.npz")
    assert (splits.info.kind, splits.info.dim, splits.info.mean_length) == ("real", 50, 300)
    assert [len(splits[split]) for split in ("train", "valid", "test")] == [16, 3, 4]


def test_mnist_is_rows_of_pixels(real):
    splits = real("mnist", "mnist/binarized_mnist.npz")
    assert (splits.info.kind, splits.info.image_shape, splits.info.max_length) == (
        "binary",
        (28, 28),
        1,
    )
    means = [splits[split].x.numpy().mean() for split in ("train", "valid", "test")]
    np.testing.assert_allclose(means, [0.13056, 0.13113, 0.13251], atol=5e-6)
    assert "sorted by digit" in splits.notes[-1]


def test_mnist_has_labels_with_its_grey_values(real):
    """The ten classes have the published counts, and sampled bits the mean of the grey values."""
    grey = real("mnist", "mnist/mnist.npz", values="grey", labels=True)
    bits = real("mnist", "mnist/mnist.npz", values="sampled", labels=True)
    assert (grey.info.kind, bits.info.kind) == ("unit", "binary")
    assert bits.info.classes == tuple("0123456789")
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert bits.test.conditions.sum(0).tolist() == counts
    np.testing.assert_array_equal(bits.valid.conditions, grey.valid.conditions)
    error = (bits.test.x.float() - grey.test.x).mean()
    assert abs(float(error)) < 1e-3
    assert not ((bits.test.x == 1) & (grey.test.x == 0)).any()
    with pytest.raises(UsageError, match=r"data\.values=sampled"):
        data.load("mnist", labels=True)
