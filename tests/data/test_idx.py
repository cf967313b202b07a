"""Folders with idx files: pictures and labels of the user's own."""

import gzip
import struct

import numpy as np
import pytest
import torch

from killing import Killed, Killer, assert_same_run
from pyrodgm import data
from pyrodgm.data.inspect import inspect
from pyrodgm.errors import DataError, UsageError
from pyrodgm.runs.fitting import fit_config, resume
from pyrodgm.runs.loading import read_other
from pyrodgm.setup.config import resolve
from tiny import tiny_values

rng = np.random.default_rng(0)
PICTURES = {"train": rng.integers(0, 256, (30, 4, 3)), "t10k": rng.integers(0, 256, (6, 4, 3))}
LABELS = {"train": np.arange(30) % 3, "t10k": np.arange(6) % 3}


def encoded(x, axes=None):
    """The bytes of an idx file."""
    shape = x.shape if axes is None else axes
    header = bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", n) for n in shape)
    return header + x.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path):
    for split, x in PICTURES.items():
        (tmp_path / f"{split}-images-idx3-ubyte").write_bytes(encoded(x))
        packed = gzip.compress(encoded(LABELS[split]))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(packed)
    return tmp_path


def test_a_folder_of_four_files_is_data(folder):
    splits = data.load(folder)
    assert (splits.info.kind, splits.info.image_shape) == ("unit", (4, 3))
    assert [len(part) for _, part in splits.items()] == [27, 3, 6]
    np.testing.assert_allclose(splits.test.x, PICTURES["t10k"].reshape(6, 12) / 255, rtol=1e-6)
    assert splits.test.labels.tolist() == ["0", "1", "2"] * 2
    assert splits.test.batch([0]).conditions is None
    assert len(splits.sha256) == 64
    for name, part in splits.items():  # labels follow their rows into held-out splits
        whole = PICTURES["t10k" if name == "test" else "train"].reshape(-1, 12)
        rows = [np.flatnonzero((whole == (255 * x).round()).all(1))[0] for x in part.x.numpy()]
        assert part.labels.tolist() == [str(row % 3) for row in rows]
    assert inspect(folder)["kind"] == "unit"


def test_values_may_be_bits_and_labels_conditions(folder):
    splits = data.load(folder, values="sampled", labels=True)
    assert (splits.info.kind, splits.info.classes) == ("binary", ("0", "1", "2"))
    assert (splits.test.conditions.argmax(1).numpy() == LABELS["t10k"]).all()
    assert np.array_equal(splits.test.x, data.load(folder, values="sampled").test.x)
    other = read_other(folder, splits.info)
    assert np.array_equal(other["test"].x, splits.test.x)
    with pytest.raises(UsageError, match="give grey, sampled, dynamic"):
        data.load(folder, values="black")


def test_dynamic_bits_are_new_in_every_batch_of_training_alone(folder):
    grey, once = (data.load(folder, values=values) for values in ("grey", "sampled"))
    splits = data.load(folder, values="dynamic")
    for split, part in splits.items():
        assert torch.equal(part.x, once[split].x)
        assert torch.equal(part.batch([0, 2]).x, once[split].batch([0, 2]).x)
    chosen = splits.training.select([3, 1])
    torch.manual_seed(0)
    bits = torch.stack([chosen.batch([0, 1]).x for _ in range(4000)])
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    expected = grey.train.x[[3, 1], None]
    # Five standard errors for each of the 24 pixels: once in 70,000 by chance.
    error = (expected * (1 - expected) / len(bits)).sqrt()
    assert ((bits.mean(0) - expected).abs() <= 5 * error + 1e-6).all()
    torch.manual_seed(0)
    assert torch.equal(chosen.batch([0, 1]).x, bits[0])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train-images-idx3-ubyte", encoded(PICTURES["train"])[:-1], "is it complete"),
        ("train-images-idx3-ubyte", encoded(PICTURES["train"])[:9], "ends within its header"),
        ("train-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(12), "not an idx file of unsigned"),
        ("train-images-idx3-ubyte", encoded(LABELS["train"]), "has 1 axes; expected 3"),
        ("train-labels-idx1-ubyte.gz", b"no", "cannot be read"),
        ("train-images.idx3-ubyte", encoded(PICTURES["train"]), "both are the images of the train"),
        ("t10k-images-idx3-ubyte", encoded(np.ones((6, 5, 5))), "shape is|has shape"),
    ],
)
def test_wrong_files_are_refused(folder, name, content, words):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        data.load(folder)


def test_training_pictures_are_needed(folder):
    (folder / "train-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="no train-images-idx3-ubyte"):
        data.load(folder)


def test_wrong_labels_are_left_out_or_refused(folder):
    wrong = folder / "t10k-labels-idx1-ubyte.gz"
    wrong.write_bytes(gzip.compress(encoded(LABELS["t10k"][:5])))
    splits = data.load(folder)
    assert splits.train.labels is None
    assert "labels are left out: 'test_labels' has 5 labels" in splits.notes[0]
    with pytest.raises(DataError, match="has 5 labels, but 'test' has 6 frames"):
        data.load(folder, labels=True)
    for split, labels in LABELS.items():
        path = folder / f"{split}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(encoded(0 * labels)))
    splits = data.load(folder)
    assert splits.train.labels is None
    assert "one class says nothing" in splits.notes[0]


def test_constant_pictures_are_noted(folder):
    for split, x in PICTURES.items():
        (folder / f"{split}-images-idx3-ubyte").write_bytes(encoded(0 * x + 7))
    assert data.load(folder).info.std == (0.0,) * 12
    assert any("never change" in note for note in inspect(folder)["notes"])


def test_training_on_dynamic_bits_is_resumed_bit_for_bit(folder, tmp_path):
    values = tiny_values(folder)
    values["model"] |= {"name": "sbn"}
    values["data"] |= {"values": "dynamic"}
    fit_config(resolve(values), tmp_path / "whole")
    with pytest.raises(Killed):
        fit_config(resolve(values), tmp_path / "killed", Killer(7))
    resume(tmp_path / "killed")
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_hidden_files_are_no_pictures(folder):
    before = data.load(folder)
    (folder / "._train-images-idx3-ubyte").write_bytes(b"of another system")
    assert data.load(folder).sha256 == before.sha256
