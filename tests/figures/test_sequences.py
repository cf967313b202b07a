import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.words.topics import Topic
from pyrodgm.figures.pixels import MISSING
from pyrodgm.figures.sequences import Band, motion, pictures
from pyrodgm.figures.topics import topic_trajectories
from pyrodgm.figures.videos import grid, save_gif, side_by_side
from pyrodgm.report.blocks import gif_uri

VIDEO = DataInfo("toy", "unit", 6, (0.5,) * 6, 3.0, 3, image_shape=(2, 3), frame_rate=25.0)
PIANO = DataInfo("toy", "binary", 6, (0.5,) * 6, 3.0, 3, lowest_pitch=60)


def test_motion_shows_the_features_that_move_most_and_the_band():
    observed = np.zeros((10, 8))
    observed[:, [1, 2, 4, 5, 6, 7]] = np.arange(10)[:, None] * np.array([6, 5, 4, 3, 2, 1])
    low, middle, high = (np.full((4, 8), level) for level in (-1.0, 0.0, 1.0))
    band = Band(6, low, middle, high, "forecast")
    figure = motion({"observed": observed, "expected": observed + 1}, band)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [f"feature {number}" for number in (1, 2, 4, 5, 6, 7)]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_array_equal(lines["observed"].get_ydata(), observed[:, 1])
    assert lines["forecast"].get_xdata().tolist() == [6, 7, 8, 9]


def test_lines_that_run_away_do_not_flatten_the_others():
    observed = np.sin(np.arange(20))[:, None]
    figure = motion({"observed": observed, "sample": 1e9 * observed})
    low, high = figure.axes[0].get_ylim()
    assert -2 < low < -1
    assert 1 < high < 2


def test_of_draws_alone_all_are_within():
    rows = {"1": np.zeros((5, 1)), "2": 50 * np.ones((5, 1))}
    low, high = motion(rows, within=np.concatenate(list(rows.values()))).axes[0].get_ylim()
    assert low < 0
    assert high > 50


def test_a_constant_feature_can_be_drawn():
    assert len(motion({"observed": np.ones((5, 1))}).axes) == 2


def test_a_mark_is_drawn_across_every_roll():
    rows = {"observed": np.eye(6), "expected": np.eye(6)}
    plain, marked = pictures(rows, PIANO), pictures(rows, PIANO, mark=3)
    for before, ax in zip(plain.axes, marked.axes, strict=True):
        added = len(ax.lines) - len(before.lines)
        assert added == 1
        assert list(ax.lines[-1].get_xdata()) == [3, 3]


def test_videos_stand_side_by_side_with_their_values():
    x = np.random.default_rng(0).random((2, 4, 6))
    images = grid(x, VIDEO, columns=2, pixels=9)
    assert len(images) == 4
    pixels = np.array(images[1])
    assert pixels.shape == (4, 9)
    np.testing.assert_array_equal(pixels[1:3, 1:4], np.rint(255 * x[0, 1].reshape(2, 3)))
    np.testing.assert_array_equal(pixels[1:3, 5:8], np.rint(255 * x[1, 1].reshape(2, 3)))


def test_real_values_are_grey_from_least_to_greatest():
    info = DataInfo("toy", "real", 6, (0.5,) * 6, 3.0, 3, image_shape=(2, 3))
    pixels = np.array(grid(np.linspace(-3, 5, 6)[None, None], info, pixels=1)[0])
    assert (pixels[1, 1], pixels[2, 3]) == (0, 255)


COLOUR = DataInfo("toy", "unit", 18, (0.5,) * 18, 3.0, 3, image_shape=(3, 2, 3))


def test_colours_are_drawn_as_they_are():
    """Channels come one after the other in a frame, and last in a picture."""
    x = np.random.default_rng(0).random((2, 4, 18))
    images = grid(x, COLOUR, columns=2, pixels=9)
    assert images[0].mode == "RGB"
    drawn = np.array(images[1])[1:3, 1:4]
    np.testing.assert_array_equal(drawn, np.rint(255 * x[0, 1].reshape(3, 2, 3)).transpose(1, 2, 0))
    figure = pictures({"observed": x[0]}, COLOUR)
    shown = figure.axes[1].images[0].get_array()
    np.testing.assert_allclose(shown, x[0, 1].reshape(3, 2, 3).transpose(1, 2, 0))


@pytest.mark.parametrize("facts", [VIDEO, COLOUR], ids=["grey", "colour"])
def test_missing_pixels_have_a_colour_of_their_own(facts):
    """A pixel is missing if one of its channels is; values of real numbers stay in their range."""
    x = np.random.default_rng(0).random((1, 2, facts.dim))
    blue = np.rint(255 * np.array(MISSING))
    whole = np.array(grid(x, facts, pixels=1)[0])
    x[0, 0, 4] = np.nan  # of the first channel
    for kind in ("unit", "real"):
        info = replace(facts, kind=kind)
        drawn = np.array(grid(x, info, pixels=1)[0])[1:3, 1:4]
        assert (drawn == blue).all(-1).tolist() == [[False] * 3, [False, True, False]]
        figure = pictures({"observed": x[0]}, info)
        np.testing.assert_allclose(figure.axes[0].images[0].get_array()[1, 1], MISSING)
    drawn = np.array(grid(x, facts, pixels=1)[0])[1, 1:4]
    np.testing.assert_array_equal(drawn, np.broadcast_to(whole[1, 1:4].T, (3, 3)).T)


def test_videos_in_colour_are_in_a_report():
    images = grid(np.random.default_rng(0).random((2, 4, 18)), COLOUR, columns=2, pixels=9)
    content = base64.b64decode(gif_uri(images, COLOUR).partition(",")[2])
    with Image.open(io.BytesIO(content)) as gif:
        assert gif.size == images[0].size
        drawn = np.array(gif.convert("RGB")).astype(int)
    assert np.abs(drawn - np.array(images[0])).mean() < 4  # shades are four apart


def test_rows_that_are_pictures_have_no_frame_numbers():
    rows = replace(VIDEO, max_length=1)
    figure = pictures({"observed": np.zeros((4, 6)), "reconstructed": np.ones((4, 6))}, rows)
    assert len(figure.axes) == 8
    assert not any(ax.get_xlabel() for ax in figure.axes)


def test_labels_of_videos_in_colour_are_black_on_white(tmp_path):
    images = side_by_side({"observed": np.zeros((3, 18))}, COLOUR)
    above = np.array(images[0])[:36]
    assert (above[..., 0] == above[..., 1]).all()
    assert (above[..., 1] == above[..., 2]).all()
    assert above.max() == 255
    save_gif(images, COLOUR, tmp_path / "colour.gif")
    with Image.open(tmp_path / "colour.gif") as saved:
        assert saved.size == images[0].size


def test_counts_have_a_scale_of_their_own():
    info = DataInfo("toy", "count", 3, (5.0,) * 3, 3.0, 3)
    figure = pictures({"x": np.array([[0, 1, 40], [2, 0, 7]])}, info)
    assert figure.axes[0].images[0].norm.vmax == 40
    assert figure.axes[-1].get_ylabel() == "tokens"


def test_of_a_video_that_was_forecast_the_forecast_is_shown():
    figure = pictures({"x": np.random.default_rng(0).random((50, 6))}, VIDEO, mark=46)
    labels = [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()]
    assert labels == ["frame 46", "frame 47", "frame 48", "frame 49", "frame 50"]


def test_labels_stand_above_and_say_where_the_forecast_begins():
    rows = dict.fromkeys(("observed", "forecast"), np.zeros((4, 6)))
    plain = side_by_side(rows, VIDEO)
    images = side_by_side(rows, VIDEO, forecast_from=2)
    assert images[0].width == plain[0].width > 600
    top = [np.array(image)[:18] for image in images]
    assert (top[0] < 255).any()
    assert (top[1][:, :60] == np.array(plain[1])[:18, :60]).all()
    assert not (top[1] == np.array(plain[1])[:18]).all()
    buffer = io.BytesIO()
    save_gif(images, VIDEO, buffer)
    with Image.open(buffer) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (4, 40)


def test_topics_are_drawn_below_their_words():
    found = [
        Topic(0, np.array([0.0, 1.0, 0.0]), 0.3, ["war", "army"], [], []),
        Topic(2, np.array([0.2, 0.4, 0.2]), 0.1, ["tax", "bank"], [], []),
    ]
    figure = topic_trajectories([1790, 1791, 1793], found)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["0: war, army", "2: tax, bank"]
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [1790, 1791, 1793]
    assert line.get_ydata().tolist() == pytest.approx([0, 1, 0])
