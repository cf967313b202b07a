import mido
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import UsageError
from pyrodgm.figures.samples_file import fitting, save_samples


def info(dim, kind="binary", **facts):
    return DataInfo("toy", kind, dim, (0.5,) * dim, 3.0, 3, **facts)


PIANO = info(5, lowest_pitch=60, frame_rate=4.0)
VIDEO = info(12, "unit", image_shape=(3, 4), frame_rate=25.0)


def random(num, length, dim, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (num, length, dim))).float()


def played(path, length, dim, lowest):
    """The piano roll that a MIDI file sounds as, and its tempo in microseconds per frame."""
    file = mido.MidiFile(path)
    roll, on, tick, tempo = np.zeros((length, dim)), {}, 0, None
    for message in file.tracks[0]:
        tick += message.time
        if message.type == "set_tempo":
            tempo = message.tempo
        elif message.type == "note_on":
            assert message.note not in on
            on[message.note] = tick // file.ticks_per_beat
        elif message.type == "note_off":
            roll[on.pop(message.note) : tick // file.ticks_per_beat, message.note - lowest] = 1
    assert not on
    return roll, tempo, file


def test_midi_read_back_gives_the_same_notes(tmp_path):
    x = random(1, 20, 5)
    assert save_samples(x, PIANO, tmp_path / "a.mid") == [tmp_path / "a.mid"]
    roll, tempo, file = played(tmp_path / "a.mid", 20, 5, 60)
    assert np.array_equal(roll, x[0].numpy())
    assert tempo == 250_000
    assert file.length == pytest.approx(20 / 4.0)


def test_held_keys_are_one_note(tmp_path):
    x = torch.tensor([[[1, 0, 0, 0, 0]] * 3 + [[0] * 5] * 2 + [[1, 0, 0, 0, 1]]]).float()
    save_samples(x, PIANO, tmp_path / "a.mid")
    track = mido.MidiFile(tmp_path / "a.mid").tracks[0]
    assert [m.note for m in track if m.type == "note_on"] == [60, 60, 64]
    assert {m.velocity for m in track if m.type == "note_on"} == {80}


def test_silence_at_the_end_lasts(tmp_path):
    x = torch.zeros(1, 8, 5)
    x[0, 0, 0] = 1
    save_samples(x, PIANO, tmp_path / "a.mid")
    assert mido.MidiFile(tmp_path / "a.mid").length == pytest.approx(2.0)


def test_several_sequences_are_several_midi_files(tmp_path):
    x = random(3, 6, 5)
    paths = save_samples(x, PIANO, tmp_path / "a.mid")
    assert [path.name for path in paths] == ["a-001.mid", "a-002.mid", "a-003.mid"]
    assert sorted(tmp_path.iterdir()) == paths
    for sequence, path in zip(x, paths, strict=True):
        assert np.array_equal(played(path, 6, 5, 60)[0], sequence.numpy())


def test_gif_has_every_frame_at_the_frame_rate(tmp_path):
    x = random(3, 7, 12) * 0.5
    save_samples(x, VIDEO, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        frames = [
            np.array(frame.convert("L"), dtype=float) for frame in ImageSequence.Iterator(image)
        ]
        assert image.info["duration"] == 40
    assert len(frames) == 7
    # Two by two videos of 3 x 4 pixels with one pixel around each.
    scale = frames[0].shape[1] // 11
    assert frames[0].shape == (9 * scale, 11 * scale)
    small = np.stack(frames)[:, scale // 2 :: scale, scale // 2 :: scale]
    assert small[:, 1:4, 1:5] == pytest.approx(255 * x[0].numpy().reshape(7, 3, 4), abs=1)
    assert small[:, 5:8, 1:5] == pytest.approx(255 * x[2].numpy().reshape(7, 3, 4), abs=1)


def test_pictures_show_probabilities_where_given(tmp_path):
    x, probabilities = torch.zeros(1, 2, 12), torch.ones(1, 2, 12)
    probabilities[0, 1] = 0.5
    save_samples(x, VIDEO, tmp_path / "a.gif", probabilities=probabilities)
    with Image.open(tmp_path / "a.gif") as image:
        assert np.array(image.convert("L")).max() == 255


def test_npz_holds_plain_arrays(tmp_path):
    x = random(2, 4, 5)
    save_samples(x, PIANO, tmp_path / "a.npz", probabilities=x / 2)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["x"].dtype == np.uint8
        assert np.array_equal(file["x"], x.numpy())
        assert np.array_equal(file["probabilities"], x.numpy() / 2)
        assert (file["frame_rate"], file["lowest_pitch"]) == (4.0, 60)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("facts", [PIANO, VIDEO, info(4, "real")])
def test_png_of_every_kind(tmp_path, facts):
    x = random(2, 6, facts.dim)
    save_samples(x, facts, tmp_path / "a.PNG")
    with Image.open(tmp_path / "a.PNG") as image:
        assert image.format == "PNG"
        assert len(np.unique(np.array(image.convert("L")))) > 2


def test_rows_that_are_pictures_are_all_in_one_grid(tmp_path):
    x = random(20, 1, 12)
    save_samples(x, VIDEO, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        drawn = np.array(image)
    scale = drawn.shape[1] // (5 * 5 + 1)
    assert drawn.shape == ((4 * 4 + 1) * scale, (5 * 5 + 1) * scale)
    last = drawn[scale // 2 :: scale, scale // 2 :: scale][13:16, 21:25]
    np.testing.assert_array_equal(last, np.rint(255 * x[-1, 0].numpy().reshape(3, 4)))


@pytest.mark.parametrize(
    ("facts", "name", "message"),
    [
        (PIANO, "a.gif", r"\.gif needs pictures .*those that fit: \.mid, \.npz, \.png"),
        (VIDEO, "a.mid", r"\.mid needs a piano roll .*those that fit: \.gif, \.npz, \.png"),
        (PIANO, "a.flac", r"unknown ending '\.flac' .*\.mid, \.npz, \.png"),
        (PIANO, "a", r"a has no ending; .*\.mid, \.npz, \.png"),
        (PIANO, "missing/a.npz", "there is no folder"),
        (PIANO, "missing/a.png", "there is no folder"),
    ],
)
def test_what_cannot_be_written_says_what_can(tmp_path, facts, name, message):
    with pytest.raises(UsageError, match=message):
        save_samples(random(1, 3, facts.dim), facts, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        save_samples(random(1, 3, 5), PIANO, tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(3, 5), (1, 3, 4), (0, 3, 5), (1, 0, 5)])
def test_wrong_shapes_are_refused(tmp_path, shape):
    with pytest.raises(UsageError, match=r"expected \(sequences, frames, 5\)"):
        save_samples(torch.zeros(shape), PIANO, tmp_path / "a.npz")


def test_probabilities_of_another_shape_are_refused(tmp_path):
    with pytest.raises(UsageError, match="must be the same"):
        save_samples(
            torch.zeros(1, 3, 5), PIANO, tmp_path / "a.npz", probabilities=torch.zeros(1, 2, 5)
        )


def test_endings_that_fit():
    assert fitting(info(3)) == [".npz", ".png"]
