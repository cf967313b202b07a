"""Sound files of one channel: WAV of any width, and NIST SPHERE."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np

from pyrodgm.access import access_in_words
from pyrodgm.data import sphere
from pyrodgm.data.audio import FULL_SCALE
from pyrodgm.errors import DataError

# The errors that SciPy raised in tests on files with bytes changed at random.
DAMAGED = (ValueError, struct.error, ArithmeticError, NameError, MemoryError)


def read(path: Path) -> tuple[int, np.ndarray]:
    """Samples per second, and the samples in the units of 16 bits, (N,), int16 or float32.

    Samples of 8, 24 and 32 bits and floating-point numbers are converted to that scale.

    Args:
        path: of a file of one channel.

    Raises:
        DataError: it cannot be read, is empty, or has several channels; the message does not name
            the file.
    """
    with access_in_words(DataError):
        content = path.read_bytes()
    if not content:
        raise DataError("it is empty, 0 bytes")
    rate, x = sphere.read(content) if content.startswith(sphere.MAGIC) else _riff(content)
    if x.size == 0:
        raise DataError("it has no samples")
    if x.ndim > 1 and x.shape[1] > 1:
        raise DataError(f"it has {x.shape[1]} channels; expected 1")
    x = _in_16_bits(x.reshape(-1))
    if not np.isfinite(x).all():
        raise DataError("it has samples that are NaN or infinite")
    return rate, x


def _riff(content: bytes) -> tuple[int, np.ndarray]:
    """The content of a WAV file, with samples as they are stored."""
    from scipy.io import wavfile  # slow to import

    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            rate, x = wavfile.read(io.BytesIO(content))
        except DAMAGED as error:
            raise DataError(f"it is not a complete WAV file ({error})") from error
    if any("EOF" in str(warning.message) for warning in noticed):
        raise DataError("it is truncated: its data is shorter than its header says")
    return rate, x


def _in_16_bits(x: np.ndarray) -> np.ndarray:
    """Samples of any width in the units of 16 bits.

    >>> _in_16_bits(np.array([128, 129], np.uint8)), _in_16_bits(np.array([0.5]))
    (array([  0., 256.], dtype=float32), array([16384.], dtype=float32))
    """
    if x.dtype == np.int16:
        return x
    centre = 2**7 if x.dtype == np.uint8 else 0  # 8 bits have no sign
    largest = 1 if x.dtype.kind == "f" else 2 ** (8 * x.dtype.itemsize - 1)
    return ((x.astype(np.float64) - centre) * (FULL_SCALE / largest)).astype(np.float32)
