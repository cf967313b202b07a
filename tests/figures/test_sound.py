"""Sound in files and figures: samples come back, clipping is said."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from pyrodgm.data.audio import Audio
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataWarning, UsageError
from pyrodgm.figures.samples_file import fitting, save_samples
from pyrodgm.figures.sound import as_16_bits, waveforms
from sounds import tone

AUDIO = Audio(rate=8000, frame_size=100, mean=-3.0, std=1500.0, loudness="recorded")
INFO = DataInfo("talk", "real", 100, (0.0,) * 100, 5.0, 9, frame_rate=80.0, audio=AUDIO)


def test_samples_written_and_read_are_the_same(tmp_path):
    x = torch.from_numpy(np.stack([AUDIO.frames(tone(900)), AUDIO.frames(tone(900, 400))]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = save_samples(x, INFO, tmp_path / "a.wav")
    assert [path.name for path in paths] == ["a-001.wav", "a-002.wav"]
    rate, read = wavfile.read(paths[1])
    assert (rate, read.dtype) == (8000, np.int16)
    np.testing.assert_array_equal(read, tone(900, 400))


def test_clipped_samples_are_counted(tmp_path):
    frames = np.zeros((2, 100))
    frames[0, :3] = 30, -30, 21
    samples, clipped = as_16_bits(frames, AUDIO)
    assert samples[:4].tolist() == [32767, -32768, 31497, -3]
    assert clipped == 2
    with pytest.warns(DataWarning, match=r"2 of 200 samples were beyond 16 bits .* clipped in a"):
        save_samples(torch.from_numpy(frames)[None], INFO, tmp_path / "a.wav")


def test_a_picture_and_arrays(tmp_path):
    x = torch.from_numpy(AUDIO.frames(tone(900)))[None]
    save_samples(x, INFO, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert len(np.unique(np.array(image.convert("L")))) > 20
    save_samples(x, INFO, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        found = file["x"][0].reshape(-1) * file["sample_std"] + file["sample_mean"]
        assert file["sample_rate"] == 8000
    np.testing.assert_allclose(found, tone(900), atol=1e-2)


def test_the_spectrogram_shows_the_pitch():
    figure = waveforms({"tone": AUDIO.frames(tone(4000, 1000))}, AUDIO, mark=2)
    mesh = figure.axes[1].collections[0]
    power = np.asarray(mesh.get_array())
    assert power.mean(1).argmax() == 32  # 1000 Hz at 31.25 Hz per row
    waveforms({"short": np.zeros((1, 100))}, AUDIO)  # shorter than a window, and silent


def test_recordings_are_black_and_draws_are_not():
    rows = {name: AUDIO.frames(tone(4000, 1000)) for name in ("test 0", "test 1", "sample 1")}
    figure = waveforms(rows, AUDIO, observed=2)
    colours = [axes.lines[0].get_color() for axes in figure.axes[::2]]
    assert colours[0] == colours[1] != colours[2]


def test_other_data_is_not_written_as_sound(tmp_path):
    info = DataInfo("toy", "real", 100, (0.0,) * 100, 5.0, 9)
    assert fitting(INFO) == [".npz", ".png", ".wav"]
    with pytest.raises(UsageError, match=r"\.wav needs sound .*those that fit: \.npz, \.png"):
        save_samples(torch.zeros(1, 2, 100), info, tmp_path / "a.wav")
