import numpy as np
import pytest

from pyrodgm.data import ragged
from pyrodgm.errors import DataError
from tiny import ragged as ragged_arrays

WORDS = np.array([f"word{n}" for n in range(6)])


def longest(arrays):
    return max(int(arrays[f"{split}_lengths"].max()) for split in ("train", "valid", "test"))


def test_a_file_says_what_its_frames_are(save_data):
    arrays = ragged_arrays(kind="count")
    years = np.array([str(1990 + n) for n in range(longest(arrays))])
    told = {"words": WORDS, "frame_labels": years, "frame_rate": np.array(2)}
    read = ragged.read(save_data(**arrays, **told))
    assert read.info.words == tuple(WORDS)
    assert read.info.frame_labels == tuple(years)
    assert read.info.frame_rate == 2.0
    assert read.notes == (
        "whole numbers are read as counts; with kind=real (--set data.kind=real) they are not, and "
        "with kind=categorical they are symbols without an order",
    )


def test_pictures_and_pitches_come_from_the_file_unless_told_otherwise(save_data):
    path = save_data(**ragged_arrays(), image_shape=np.array([2, 3]), lowest_pitch=np.array(40))
    info = ragged.read(path).info
    assert (info.image_shape, info.lowest_pitch, info.frame_rate) == ((2, 3), 40, 10.0)
    assert info.picture_shape == (1, 2, 3)
    colour = ragged.read(path, image_shape=(3, 1, 2)).info
    assert colour.image_shape == colour.picture_shape == (3, 1, 2)
    info = ragged.read(path, image_shape=(3, 2), lowest_pitch=50, frame_rate=4.0).info
    assert (info.image_shape, info.lowest_pitch, info.frame_rate) == ((3, 2), 50, 4.0)


def test_facts_survive_a_round_trip(save_data, tmp_path):
    splits = ragged.read(save_data(**ragged_arrays(kind="count"), words=WORDS))
    ragged.write(tmp_path / "again.npz", splits)
    assert ragged.read(tmp_path / "again.npz").info.words == tuple(WORDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_shape", np.array([2, 2])),
        ("image_shape", np.array([2.0, 3.0])),
        ("image_shape", np.array([-2, -3])),
        ("image_shape", np.array([2, 3, 1])),
        ("image_shape", np.array([3, 1, 1])),
        ("lowest_pitch", np.array([1, 2])),
        ("lowest_pitch", np.array(-1)),
        ("lowest_pitch", np.array(123)),
        ("frame_rate", np.array(0.0)),
        ("frame_rate", np.array(0.01)),
        ("frame_rate", np.array(np.inf)),
        ("words", WORDS[:5]),
        ("words", np.arange(6)),
        ("frame_labels", np.array(["a"])),
    ],
)
def test_facts_of_another_form_are_refused(save_data, name, value):
    with pytest.raises(DataError, match=f"'{name}' has shape .* expected"):
        ragged.read(save_data(**ragged_arrays(), **{name: value}))


def test_words_in_an_array_of_objects_are_refused_unread(save_data):
    with pytest.raises(
        DataError, match=r"'words' in .* holds Python objects.*numpy.array\(words, dtype"
    ):
        ragged.read(save_data(**ragged_arrays(), words=WORDS.astype(object)))
