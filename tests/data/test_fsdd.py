"""Spoken digits: the official split, the same data from a file and from a folder of recordings."""

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.data import fsdd, local
from pyrodgm.errors import DataError, UsageError
from sounds import RATE, tone, write


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Eleven takes of two digits by two speakers, in a folder and in a file."""
    folder, samples, facts = tmp_path / "fsdd" / "recordings", [], []
    for digit in (0, 7):
        for number, speaker in enumerate(("ann", "bob")):
            for take in range(11):
                samples.append(tone(450 + take, 200 + 9 * digit, 500 * (1 + 9 * number)))
                facts.append((digit, number, take))
                write(folder / f"{digit}_{speaker}_{take}.wav", samples[-1])
    digit, speaker, take = np.array(facts, np.uint8).T
    arrays = {"digit": digit, "speaker": speaker, "take": take, "speaker_names": ["ann", "bob"]}
    np.savez(
        tmp_path / "fsdd_8k.npz",
        samples=np.concatenate(samples),
        lengths=[len(x) for x in samples],
        sample_rate=RATE,
        **arrays,
    )
    monkeypatch.setattr(fsdd, "RECORDINGS", len(samples))
    monkeypatch.setattr(fsdd, "SAMPLES", sum(map(len, samples)))
    return tmp_path


def test_takes_are_split(small, monkeypatch):
    monkeypatch.setenv(local.ENVIRONMENT, str(small))
    splits = data.load("fsdd", loudness="recorded")
    assert [len(part) for _, part in splits.items()] == [4, 20, 20]
    x = splits.info.audio.samples(splits.test.sequence(0).numpy())
    np.testing.assert_allclose(x[:450], tone(450, 200, 500), atol=1e-2)
    first = splits.info.audio.samples(splits.train.sequence(0).numpy())
    np.testing.assert_allclose(first[:460], tone(460, 200, 500), atol=1e-2)


def test_a_clone_of_the_repository_is_the_same_data(small):
    found = data.load("fsdd", path=str(small / "fsdd_8k.npz"))
    for path in (small / "fsdd", small / "fsdd" / "recordings"):
        other = data.load("fsdd", path=str(path))
        for split, part in found.items():
            assert part.x.equal(other[split].x)
            assert np.array_equal(part.lengths, other[split].lengths)


def test_digits_and_speakers_can_be_conditions(small):
    for labels, classes in (("digit", ("0", "7")), ("speaker", ("ann", "bob"))):
        splits = data.load("fsdd", path=str(small / "fsdd"), labels=labels)
        assert splits.info.classes == classes
        assert splits.test.conditions.sum(1).eq(1).all()
        assert splits.test.conditions[0].tolist() == [1, 0]
        assert splits.test.conditions[-1].tolist() == [0, 1]


def test_what_is_not_the_published_data(small, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="labels is 'word'; give none, digit or speaker"):
        data.load("fsdd", path=str(small / "fsdd"), labels="word")
    (small / "fsdd" / "recordings" / "0_ann_0.wav").unlink()
    with pytest.raises(DataError, match=r"not the published fsdd: expected 44 .*, found 43"):
        data.load("fsdd", path=str(small / "fsdd"))
    write(small / "fsdd" / "recordings" / "more.wav", tone(300))
    with pytest.raises(DataError, match=r"'more\.wav' is not named DIGIT_SPEAKER_TAKE\.wav"):
        data.load("fsdd", path=str(small / "fsdd"))
    np.savez(tmp_path / "b.npz", samples=tone(30), lengths=[10])
    with pytest.raises(DataError, match="not fsdd: it has no digit, speaker"):
        data.load("fsdd", path=str(tmp_path / "b.npz"))
    monkeypatch.setenv(local.ENVIRONMENT, str(tmp_path / "absent"))
    monkeypatch.setattr(local.pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    with pytest.raises(DataError, match=r"github\.com/Jakobovski/free-spoken-digit-dataset"):
        data.load("fsdd")


def test_the_published_file(real_data):
    splits = data.load("fsdd", path=str(real_data("speech/fsdd_8k.npz")))
    sizes = [(len(part), part.num_frames) for _, part in splits.items()]
    assert sizes == [(2400, 43_238), (300, 5428), (300, 5323)]
    assert splits.info.max_length == 92
    assert splits.info.audio.std == pytest.approx(1641.906, abs=1e-2)
