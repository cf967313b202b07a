"""Sound files of every width give the same samples; what cannot be read is named."""

import wave
from contextlib import suppress

import numpy as np
import pytest

from pyrodgm.data import sphere, wav
from pyrodgm.errors import DataError
from sounds import RATE, tone, write
from sounds import sphere as as_sphere

X = tone(300)


def test_16_bits_are_kept(tmp_path):
    rate, x = wav.read(write(tmp_path / "a.wav", X))
    assert rate == RATE
    assert x.dtype == np.int16
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    "stored",
    [X.astype(np.int32) << 16, (X / 2**15).astype(np.float32), X / 2**15, X[:, None]],
    ids=["int32", "float32", "float64", "one column"],
)
def test_other_widths_are_in_the_units_of_16_bits(tmp_path, stored):
    np.testing.assert_array_equal(wav.read(write(tmp_path / "a.wav", stored))[1], X)


def test_24_and_8_bits(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(b"".join((int(v) << 8).to_bytes(3, "little", signed=True) for v in X))
    np.testing.assert_array_equal(wav.read(tmp_path / "a.wav")[1], X)
    write(tmp_path / "b.wav", (X // 256 + 128).astype(np.uint8))
    np.testing.assert_array_equal(wav.read(tmp_path / "b.wav")[1], X // 256 * 256)


def test_what_cannot_be_used_is_named(tmp_path):
    path = write(tmp_path / "a.wav", X)
    content = path.read_bytes()
    bad = {
        b"": "it is empty, 0 bytes",
        b"no sound at all" * 9: "it is not a complete WAV file",
        content[:30]: "it is not a complete WAV file",
        content[:400]: "it is truncated",
        content[:401]: "it is not a complete WAV file",
        content[:20] + b"\x07\x00" + content[22:]: "Unknown wave file format: MULAW",
    }
    for given, message in bad.items():
        path.write_bytes(given)
        with pytest.raises(DataError, match=message):
            wav.read(path)
    for x, message in (
        (X[:0], "it has no samples"),
        (np.stack([X, X], 1), "it has 2 channels; expected 1"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
    ):
        with pytest.raises(DataError, match=message):
            wav.read(write(path, x))


def test_changed_bytes_raise_nothing_else(tmp_path):
    path = write(tmp_path / "a.wav", X)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(content)
        for place in rng.integers(0, 50, 2):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        with suppress(DataError):
            wav.read(path)


def test_sphere(tmp_path):
    path = tmp_path / "SA1.WAV"
    path.write_bytes(as_sphere(X))
    rate, x = wav.read(path)
    assert rate == 16_000
    np.testing.assert_array_equal(x, X)
    swapped = as_sphere(X).replace(b"_format -s2 01", b"_format -s2 10")
    np.testing.assert_array_equal(sphere.read(swapped)[1], X.byteswap())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (as_sphere(X, coding="pcm,embedded-shorten-v2.00"), "compressed .* sph2pipe"),
        (as_sphere(X, coding="ulaw", sample_n_bytes=1), "are ulaw of 1 bytes; expected pcm of 2"),
        (as_sphere(X)[:-2], "truncated: 299 samples of 300"),
        (as_sphere(X, sample_rate=0), "no valid sample_rate"),
        (b"NIST_1A\n what is it", "header is damaged"),
        (as_sphere(np.stack([X, X], 1), channel_count=2), "2 channels"),
    ],
)
def test_sphere_files_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=message):
        wav.read(tmp_path / "a.wav")
