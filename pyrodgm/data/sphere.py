"""Sound files with a NIST SPHERE header, as in TIMIT: text of 1024 bytes, and then the samples."""

from __future__ import annotations

import numpy as np

from pyrodgm.errors import DataError

MAGIC = b"NIST_1A"


def read(content: bytes) -> tuple[int, np.ndarray]:
    r"""Samples per second, and samples (N,) or (N, channels), of an uncompressed file.

    Args:
        content: of the whole file.

    Raises:
        DataError: it is damaged, compressed, or not of 16 bits.

    >>> header = b"NIST_1A\n   1024\nsample_rate -i 8000\nsample_count -i 2\nend_head\n"
    >>> read(header.ljust(1024) + b"\x01\x00\xff\xff")
    (8000, array([ 1, -1], dtype=int16))
    """
    fields, start = _header(content)
    coding = fields.get("sample_coding", "pcm")
    if "shorten" in coding or "wavpack" in coding or "shortpack" in coding:
        raise DataError(
            f"it is compressed ({coding}); uncompress it with sph2pipe -f wav IN.WAV OUT.wav"
        )
    if coding != "pcm" or fields.get("sample_n_bytes", "2") != "2":
        width = fields.get("sample_n_bytes", "2")
        raise DataError(f"its samples are {coding} of {width} bytes; expected pcm of 2 bytes")
    kind = ">i2" if fields.get("sample_byte_format") == "10" else "<i2"
    rate, count, channels = (_number(fields, name, usual) for name, usual in _NUMBERS.items())
    data = content[start:]
    if len(data) < 2 * count * channels:
        raise DataError(f"it is truncated: {len(data) // 2 // channels} samples of {count}")
    x = np.frombuffer(data, kind, count * channels).astype(np.int16)
    return rate, x if channels == 1 else x.reshape(-1, channels)


_NUMBERS = {"sample_rate": None, "sample_count": None, "channel_count": 1}


def _header(content: bytes) -> tuple[dict[str, str], int]:
    """The fields of the header, and its length in bytes."""
    try:
        length = int(content[len(MAGIC) : 16])
        lines = content[16:length].decode("ascii").splitlines()
    except ValueError as error:
        raise DataError(f"its NIST header is damaged ({error})") from error
    parts = [line.split(maxsplit=2) for line in lines]
    fields = {name: value for name, *_, value in (part for part in parts if len(part) > 1)}
    return fields, length


def _number(fields: dict[str, str], name: str, usual: int | None) -> int:
    value = fields.get(name, usual)
    if not str(value).isdigit() or (int(str(value)) == 0 and name != "sample_count"):
        raise DataError(f"its NIST header has no valid {name}")
    return int(str(value))
