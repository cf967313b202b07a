"""Small recordings in files."""

from pathlib import Path

import numpy as np
from scipy.io import wavfile

RATE = 8000


def tone(samples: int, pitch: float = 220.0, height: float = 3000.0) -> np.ndarray:
    """A sine of some height in the units of 16 bits, (samples,) int16."""
    return (height * np.sin(2 * np.pi * pitch * np.arange(samples) / RATE)).astype(np.int16)


def write(path: Path, x: np.ndarray, rate: int = RATE) -> Path:
    """A WAV file of the samples in their own type; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, x)
    return path


def folder_of(path: Path, count: int = 12) -> Path:
    """A folder of recordings of different length and loudness."""
    for number in range(count):
        x = tone(500 + 90 * number, 200 + 20 * number, 300 * (number + 1))
        write(path / f"take-{number:02}.wav", x)
    return path


def sphere(x: np.ndarray, rate: int = 16_000, coding: str = "pcm", **fields: int) -> bytes:
    """The content of a NIST SPHERE file, as in TIMIT."""
    counts = {"channel_count": 1, "sample_count": len(x), "sample_rate": rate, "sample_n_bytes": 2}
    lines = [f"{name} -i {value}" for name, value in (counts | fields).items()]
    lines += ["sample_byte_format -s2 01", f"sample_coding -s{len(coding)} {coding}", "end_head"]
    header = "\n".join(["NIST_1A", "   1024", *lines, ""]).encode().ljust(1024)
    return header + x.astype("<i2").tobytes()
