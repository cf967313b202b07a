"""Formatting of numbers for text and JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

LARGE = 10_000  # from here on, one decimal
HUGE = 1e7  # from here on, scientific notation
NUMBERS = re.compile(r"\d[\d.,e+-]*")


def number(value: float | None, digits: int = 3) -> str:
    """A number with a number of decimals; more if these would be zeros; a dash for none.

    Args:
        value: the number; None or NaN for none.
        digits: decimals, and the minimal number of significant digits.

    >>> number(-8.6214), number(0.5, 2), number(-15238.69), number(None), number(math.nan)
    ('-8.621', '0.50', '-15238.7', '–', '–')
    >>> number(3.14159e-5), number(3.14159e8), number(0.0), number(0.00987)
    ('3.14e-05', '3.1416e+08', '0.000', '0.00987')
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if 0 < size < 10 ** (1 - digits):
        return f"{value:.{digits}g}"
    if size >= HUGE:
        return f"{value:.{digits + 2}g}"
    return f"{value:.{digits if size < LARGE else 1}f}"


def without_numbers(text: str) -> str:
    """A text without its numbers, which is the same for warnings that differ in them alone.

    >>> without_numbers("by 0.021 nats") == without_numbers("by 3e-2 nats")
    True
    """
    return NUMBERS.sub("", text)


def exact(value: float) -> str:
    """A number with enough digits to distinguish it from neighbouring numbers.

    >>> exact(2.0), exact(1.0000001), exact(5_411_000.4), exact(1e300)
    ('2', '1.0000001', '5411000.4', '1e+300')
    """
    short = f"{value:g}"
    return short if float(short) == float(value) else repr(float(value)).removesuffix(".0")


def between(low: float, high: float) -> str:
    """A range, with enough digits to distinguish its ends.

    >>> between(0.0, 255.0), between(5_411_000.125, 5_411_000.625), between(-1e-5, 2e-5)
    ('0 to 255', '5411000.125 to 5411000.625', '-1e-05 to 2e-05')
    """
    size, width = max(abs(low), abs(high)), high - low
    digits = 6 if not width else max(6, 4 + math.floor(math.log10(size / width)))
    return f"{low:.{min(digits, 17)}g} to {high:.{min(digits, 17)}g}"


def counted(count: int, thing: str) -> str:
    """A count with a noun in singular or plural.

    >>> counted(1, "frame"), counted(4000, "frame")
    ('1 frame', '4,000 frames')
    """
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def counted_frames(sequences: int, frames: int) -> str:
    """Sequences and their frames in words; rows where every sequence is a single frame.

    >>> counted_frames(77, 4725), counted_frames(1024, 1024)
    ('77 sequences, 4,725 frames', '1,024 rows')
    """
    if sequences == frames:
        return counted(frames, "row")
    return f"{counted(sequences, 'sequence')}, {counted(frames, 'frame')}"


def json_number(value: Any) -> Any:
    """A value for JSON, with null for NaN and infinity.

    >>> [json_number(value) for value in (0.5, math.nan, -math.inf, 3, "any")]
    [0.5, None, None, 3, 'any']
    """
    return None if isinstance(value, float) and not math.isfinite(value) else value


def in_words(found: object) -> str:
    """What was given where something else is expected.

    >>> in_words(None), in_words({"h": 1}), in_words([1]), in_words(()), in_words(float)
    ('nothing', "a dictionary with 'h'", 'a list', 'an empty tuple', 'the class float')
    """
    if found is None:
        return "nothing"
    if isinstance(found, type):
        return f"the class {found.__name__}"
    if (shape := getattr(found, "shape", None)) is not None:
        return f"a tensor of shape {tuple(shape)}"
    if isinstance(found, Mapping):
        return (
            f"a dictionary with {', '.join(map(repr, found))}" if found else "an empty dictionary"
        )
    return "an empty tuple" if found == () else f"a {type(found).__name__}"
