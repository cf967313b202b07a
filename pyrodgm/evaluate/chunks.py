"""Which draws of which sequences are scored together?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from pyrodgm.data.loader import evaluation_batches

FRAMES_AT_ONCE = 5_000  # draws x padded frames scored together: bounds memory, not results
NUMBERS_AT_ONCE = 10_000_000  # frames x numbers in a frame, where frames are wide
DRAWS_AT_ONCE = 8  # at least, of long sequences: a loop over frames costs as much for one

Tell = Callable[[float], None]


def silent(share: float) -> None:
    """Tell nobody which share of a pass is done."""
    del share


def chunks(
    lengths: np.ndarray, draws: int, *, width: int = 1, tell: Tell = silent
) -> Iterator[tuple[np.ndarray, slice]]:
    """Rows of similar length, and which of their draws; together all draws of all rows.

    Few sequences with many draws each, rather than the other way round: what observations add to
    every distribution is then computed once for many draws.

    Args:
        lengths: frames per sequence, (N,).
        draws: of every sequence.
        width: numbers that a draw of a frame takes.
        tell: called with the share that is done after each.

    >>> list(chunks(np.array([3, 3]), 2))
    [(array([0, 1]), slice(0, 2, None))]
    >>> [(rows.tolist(), part) for rows, part in chunks(np.array([500, 9]), 12)]
    [([1], slice(0, 12, None)), ([0], slice(0, 10, None)), ([0], slice(10, 12, None))]
    """
    most, done = min(FRAMES_AT_ONCE, NUMBERS_AT_ONCE // width), 0
    batches = evaluation_batches(lengths, max(1, most // draws))
    total = draws * sum(_padded(lengths, rows) for rows in batches)
    for rows in batches:
        frames = _padded(lengths, rows)
        several = min(DRAWS_AT_ONCE, NUMBERS_AT_ONCE // (width * frames))
        size = max(1, most // frames, several)
        for start in range(0, draws, size):
            part = slice(start, min(start + size, draws))
            yield rows, part
            done += frames * (part.stop - part.start)
            tell(done / total)


def _padded(lengths: np.ndarray, rows: np.ndarray) -> int:
    return len(rows) * int(lengths[rows].max())
