"""TIMIT by path, in a small copy of its folders."""

import random

import numpy as np
import pytest

from pyrodgm import data
from pyrodgm.data import timit
from pyrodgm.errors import DataError
from sounds import sphere, tone


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Twenty recordings for training and four for testing, with SPHERE headers."""
    monkeypatch.setattr(timit, "FILES", {"TRAIN": 20, "TEST": 4})
    monkeypatch.setattr(timit, "NUM_VALID", 3)
    for part, count in timit.FILES.items():
        for number in range(count):
            path = tmp_path / "TIMIT" / part / f"DR{number % 3}" / "FCJF0" / f"SA{number}.WAV"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sphere(tone(401 + number)))
    return tmp_path / "TIMIT"


def test_the_published_protocol(small):
    splits = data.load("timit", path=str(small))
    assert [len(part) for _, part in splits.items()] == [17, 3, 4]
    audio = splits.info.audio
    assert (audio.rate, audio.frame_size, audio.mean, audio.std) == (
        16000,
        200,
        0.00606,
        548.136169,
    )
    x = splits.test.sequence(0).numpy().reshape(-1)
    np.testing.assert_allclose(x[:401], (tone(401) - 0.00606) / 548.136169, rtol=1e-6)
    assert x.shape == (600,)
    assert not x[401:].any()
    assert splits.notes[0].startswith("the training samples have mean ")
    assert data.load("timit", path=str(small.parent)).sha256 == splits.sha256


def test_validation_does_not_depend_on_capitals(small):
    before = data.load("timit", path=str(small)).valid
    small.rename(small.parent / "timit")
    for path in sorted((small.parent / "timit").rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    after = data.load("timit", path=str(small.parent)).valid
    assert before.x.equal(after.x)


def test_the_shuffle_is_that_of_python_2():
    order = timit.shuffled_by_python_2(list(range(1000)), 1234)
    assert sorted(order) == list(range(1000))
    rng = random.Random(1234)
    assert order[-1] == int(rng.random() * 1000)  # the first swap
    other = list(range(1000))
    random.Random(1234).shuffle(other)
    assert order != other


def test_what_is_not_timit(small, tmp_path):
    with pytest.raises(DataError, match=r"needs the option path.*LDC93S1"):
        data.load("timit")
    with pytest.raises(DataError, match="has no folders TRAIN and TEST"):
        data.load("timit", path=str(tmp_path / "absent"))
    extra = small / "TEST" / "DR0" / "FCJF0" / "SA0.WAV.wav"
    extra.write_bytes(sphere(tone(500)))
    with pytest.raises(DataError, match=r"5 \.wav files; TIMIT has 4 there"):
        data.load("timit", path=str(small))
    extra.unlink()
    (small / "TEST" / "DR0" / "FCJF0" / "SA0.WAV").write_bytes(
        sphere(tone(500), coding="pcm,embedded-shorten-v2.00")
    )
    with pytest.raises(DataError, match=r"TEST/DR0/FCJF0/SA0.WAV: it is compressed .* sph2pipe"):
        data.load("timit", path=str(small))
