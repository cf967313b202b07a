"""Arrays of pictures are read as rows, channel by channel, if it is clear which axis is which."""

import numpy as np
import pytest

from pyrodgm.data import ragged
from pyrodgm.data.evaluation import given_data
from pyrodgm.data.evaluation_files import read_evaluation
from pyrodgm.data.remarks import summary
from pyrodgm.errors import DataError
from pyrodgm.figures.pixels import pixels

COLOUR = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), np.uint8)  # channels last
ROWS = np.moveaxis(COLOUR, 3, 1).reshape(12, -1)


@pytest.mark.parametrize("x", [COLOUR, np.moveaxis(COLOUR, 3, 1)], ids=["last", "first"])
def test_colour_pictures_are_rows_channel_by_channel(save_data, x):
    splits = ragged.read(save_data(train=x, valid=x, test=x))
    assert (splits.info.image_shape, splits.info.dim, splits.info.kind) == ((3, 4, 5), 60, "real")
    np.testing.assert_array_equal(splits.test.x.numpy(), ROWS)
    np.testing.assert_array_equal(pixels(ROWS, splits.info), COLOUR)
    assert "60 features (pictures of 3 x 4 x 5)" in summary(splits)


def test_bytes_are_grey_values_if_asked_for(save_data):
    splits = ragged.read(save_data(train=COLOUR), kind="unit")
    np.testing.assert_array_equal(
        splits.train.x.numpy(), np.float32(ROWS[splits_rows(splits)] / 255)
    )
    black = ragged.read(save_data(train=COLOUR % 2), kind="unit")
    assert black.train.x.numpy().max() == 1
    rows = given_data(COLOUR, splits.info)["given"]
    np.testing.assert_allclose(rows.x.numpy(), ROWS / 255, rtol=1e-6)


def splits_rows(splits):
    """The rows of the file that are in the training split."""
    levels = np.rint(255 * splits.train.x.numpy())
    return [int(np.flatnonzero((row == ROWS).all(1)).item()) for row in levels]


GREY = COLOUR[..., 0]


def test_grey_pictures_need_their_shape_because_they_could_be_sequences(save_data):
    with pytest.raises(DataError, match=r"two dimensions.*Grey pictures: an array image_shape"):
        ragged.read(save_data(train=GREY))
    for shape in ([4, 5], [1, 4, 5]):
        info = ragged.read(save_data(train=GREY, image_shape=np.array(shape))).info
        assert (info.picture_shape, info.dim) == ((1, 4, 5), 20)
    alone = ragged.read(save_data(train=GREY[..., None])).info
    assert alone.image_shape == (1, 4, 5)


AMBIGUOUS = COLOUR[:, :3, :, :]  # (12, 3, 5, 3)


@pytest.mark.parametrize(
    ("x", "shape", "message"),
    [
        (AMBIGUOUS, None, r"may be the second or the last axis.*\(3, 5, 3\) or \(3, 3, 5\)"),
        (COLOUR[:, :3, :3], (3, 3, 3), "rows of numbers, channel by channel"),
        (
            COLOUR,
            (3, 5, 4),
            r"image_shape is \(3, 5, 4\); expected \(N, 3, 5, 4\) or \(N, 5, 4, 3\)",
        ),
        (GREY, (5, 4), r"expected \(N, 5, 4\), or rows of 20 numbers"),
        (COLOUR[..., :2], None, "expected pictures with 1 or 3 channels.*Videos: all frames end"),
        (COLOUR[None], None, "expected two dimensions"),
    ],
)
def test_unclear_pictures_are_refused(save_data, x, shape, message):
    told = {} if shape is None else {"image_shape": np.array(shape)}
    with pytest.raises(DataError, match=message):
        ragged.read(save_data(train=x, **told))


@pytest.mark.parametrize(("shape", "axis"), [((3, 5, 3), 1), ((3, 3, 5), 3)])
def test_the_shape_tells_where_the_channels_are(save_data, shape, axis):
    splits = ragged.read(save_data(train=AMBIGUOUS, test=AMBIGUOUS, image_shape=np.array(shape)))
    expected = np.moveaxis(AMBIGUOUS, axis, 1).reshape(12, -1)
    np.testing.assert_array_equal(splits.test.x.numpy(), expected)


def test_new_pictures_of_a_fitted_model_are_read_alike(save_data):
    info = ragged.read(save_data(train=COLOUR)).info
    for x in (COLOUR, np.moveaxis(COLOUR, 3, 1), ROWS):
        found = read_evaluation(save_data("new.npz", x=x), info)["x"]
        np.testing.assert_array_equal(found.x.numpy(), ROWS)
        assert set(found.lengths) == {1}
    grey = ragged.read(save_data(train=GREY, image_shape=np.array([4, 5]))).info
    for x in (GREY, GREY[..., None]):
        np.testing.assert_array_equal(given_data(x, grey)["given"].x.numpy(), GREY.reshape(12, -1))
    with pytest.raises(DataError, match="image_shape is"):
        read_evaluation(save_data("new.npz", x=COLOUR[:, :3]), info)
