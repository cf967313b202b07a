"""Folders of recordings: frames, constants, splits, and files that cannot be used."""

import json

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.data import recordings
from pyrodgm.data.audio import LEVEL, decibels
from pyrodgm.data.base import DataInfo
from pyrodgm.data.evaluation import EvaluationData
from pyrodgm.data.inspect import inspect, render
from pyrodgm.errors import DataError, UsageError
from sounds import RATE, folder_of, tone, write


@pytest.fixture
def folder(tmp_path):
    return folder_of(tmp_path / "talk")


def test_every_file_is_a_sequence_of_frames(folder):
    splits = data.load(folder, frame_size=50)
    info, audio = splits.info, splits.info.audio
    assert (info.name, info.kind, info.dim) == ("talk", "real", 50)
    assert (info.frame_rate, audio.rate, audio.loudness) == (160.0, RATE, "equal")
    lengths = np.concatenate([part.lengths for _, part in splits.items()])
    assert sorted(lengths) == sorted(-(-(500 + 90 * number) // 50) for number in range(12))
    assert [len(part) for _, part in splits.items()] == [10, 1, 1]
    assert DataInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


def test_samples_of_training_are_standardised_without_their_padding(folder):
    splits = data.load(folder, frame_size=70)
    train, audio = splits.train, splits.info.audio
    padding = sum(
        int((train.sequence(row).reshape(-1).flip(0) != 0).int().argmax()) for row in range(10)
    )
    x = train.x.double().numpy()
    assert 0 < padding < 700
    assert x.sum() == pytest.approx(0, abs=1e-2)
    assert np.square(x).sum() == pytest.approx(x.size - padding, rel=1e-3)
    assert audio.nats_of_units == pytest.approx(70 * np.log(audio.std))


@pytest.mark.parametrize("loudness", ["equal", "recorded"])
def test_frames_become_samples_again(folder, loudness):
    write(folder / "test" / "one.wav", tone(333))
    write(folder / "train" / "one.wav", tone(900))
    write(folder / "train" / "two.wav", tone(900, height=9000))
    splits = data.load(folder, frame_size=100, loudness=loudness)
    samples = splits.info.audio.samples(splits.test.sequence(0).numpy())
    assert len(samples) == 400
    if loudness == "recorded":
        np.testing.assert_allclose(samples[:333], tone(333), atol=1e-2)
    else:
        assert decibels(samples[:333]) == pytest.approx(LEVEL, abs=1e-3)
    np.testing.assert_allclose(samples[333:], splits.info.audio.mean, atol=1e-4)


def test_folders_are_splits(folder):
    for split in ("train", "dev", "test"):
        folder_of(folder / split, 4)
    splits = data.load(folder)
    assert [len(part) for _, part in splits.items()] == [4, 4, 4]
    assert "12 files outside of dev" not in splits.notes
    assert any("12 files outside of " in note for note in splits.notes)
    (folder / "train").rename(folder / "other")
    with pytest.raises(DataError, match="but none named train"):
        data.load(folder)


def test_missing_splits_are_drawn_by_file(folder):
    first, again = (data.load(folder) for _ in range(2))
    other = data.load(folder, split_seed=3)
    assert first.train.x.equal(again.train.x)
    assert first.sha256 == other.sha256
    assert not np.array_equal(first.train.lengths, other.train.lengths)
    assert "no folder 'test': 1 of 12 recordings, drawn with seed 0" in first.notes
    for number in range(2, 12):
        (folder / f"take-{number:02}.wav").unlink()
    with pytest.raises(DataError, match="has 2 recordings for training"):
        data.load(folder)


def spoilt(folder):
    """Five files with a problem each, and two that only look like it."""
    (folder / "broken.wav").write_bytes(b"RIFF....")
    (folder / "empty.wav").write_bytes(b"")
    write(folder / "deep" / "fast.WAV", tone(800), rate=16_000)
    write(folder / "none.wav", tone(0))
    write(folder / "stereo.wav", np.stack([tone(800)] * 2, 1))
    write(folder / "short.wav", tone(30))
    (folder / "._hidden.wav").write_bytes(b"of a Mac")


def test_all_files_that_cannot_be_used_are_named_at_once(folder):
    spoilt(folder)
    with pytest.raises(DataError) as error:
        data.load(folder)
    for words in (
        "5 of 18 files in",
        "broken.wav: it is not a complete WAV file",
        "empty.wav: it is empty, 0 bytes",
        "deep/fast.WAV: its sample rate is 16000 Hz; most files have 8000 Hz",
        "none.wav: it has no samples",
        "stereo.wav: it has 2 channels; expected 1",
        "unusable=skip",
    ):
        assert words in str(error.value)


def test_they_can_be_left_out(folder):
    spoilt(folder)
    splits = data.load(folder, unusable="skip")
    assert sum(len(part) for _, part in splits.items()) == 13
    assert min(part.lengths.min() for _, part in splits.items()) == 1  # short.wav
    assert any(note.startswith("5 of 18 files are left out: broken.wav:") for note in splits.notes)


def test_silence_is_not_scaled(folder):
    write(folder / "silent.wav", np.zeros(900, np.int16))
    splits = data.load(folder)
    assert "silent recordings: 1 of 13" in splits.notes
    for path in folder.glob("*.wav"):
        write(path, np.zeros(900, np.int16))
    with pytest.raises(DataError, match="silent: all their samples are equal"):
        data.load(folder)


def test_what_is_no_folder_of_recordings(tmp_path, folder):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"has no \.wav files; give a folder of recordings"):
        data.load(tmp_path / "nothing")
    with pytest.raises(DataError, match="is one recording; give the folder"):
        data.load(folder / "take-00.wav")
    with pytest.raises(DataError, match="no such folder"):
        data.load("absent.wav")
    with pytest.raises(UsageError, match="frame_size is 0"):
        data.load(folder, frame_size=0)
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"none of the 12 \.wav files"):
        data.load(folder, unusable="skip")


def test_other_recordings_have_the_constants_of_the_fit(folder, tmp_path):
    info = data.load(folder, frame_size=100, loudness="recorded").info
    path = write(tmp_path / "new" / "one.wav", tone(1000, height=77))
    for source, name in ((path, "one"), (path.parent, "new")):
        found = recordings.read_evaluation(source, info)
        (part,) = found.parts
        assert part == name
        samples = info.audio.samples(found[part].x.numpy())
        np.testing.assert_allclose(samples, tone(1000, height=77), atol=1e-2)
    write(path, tone(1000), rate=16_000)
    with pytest.raises(DataError, match="sample rate is 16000 Hz; expected 8000 Hz"):
        recordings.read_evaluation(path.parent, info)
    with pytest.raises(DataError, match="'bits', which is not sound"):
        recordings.read_evaluation(path, DataInfo("bits", "binary", 2, (0.5, 0.5), 3.0, 3))


def test_other_splits_have_the_constants_of_the_fit(folder, tmp_path):
    info = data.load(folder, loudness="recorded").info
    other = data.load(folder_of(tmp_path / "loud", 6), loudness="recorded")
    part = EvaluationData.of_splits(other, info)["train"]
    wanted = other.info.audio.samples(other.train.x.numpy())
    np.testing.assert_allclose(info.audio.samples(part.x.numpy()), wanted, atol=1e-2)
    equal = data.load(folder)
    with pytest.raises(DataError, match="loudness recorded, but this data has equal"):
        EvaluationData.of_splits(equal, info)


def test_inspection_says_duration_rate_and_loudness(folder):
    report = json.loads(json.dumps(inspect(folder)))
    assert (report["audio"]["rate"], report["audio"]["frame_size"]) == (RATE, 200)
    text = render(report)
    for words in (
        "8000 Hz, 25 ms per frame: train 1.",
        "loudness of the recordings from -",
        "vrnn",
    ):
        assert words in text
    (folder / "take-00.wav").write_bytes(b"")
    report = inspect(folder)
    assert "1 of 12 files in" in report["refused"]
    assert report["audio"] is None


def test_recordings_in_hidden_folders_are_left_out(folder):
    before = data.load(folder)
    (folder / ".cache").mkdir()
    write(folder / ".cache" / "more.wav", tone(500))
    assert data.load(folder).sha256 == before.sha256


@pytest.mark.parametrize("options", [{"loudness": "loud"}, {"unusable": "keep"}])
def test_other_options_are_refused(folder, options):
    with pytest.raises(UsageError, match=r"is '(loud|keep)'; give "):
        data.load(folder, **options)
