"""Which draws of which sequences are scored together?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyrodgm.data.loader import evaluation_batches

FRAMES_AT_ONCE = 5_000  # draws x padded frames scored together: bounds memory, not results


def chunks(lengths: np.ndarray, draws: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Rows of similar length, and which of their draws; together all draws of all rows.

    Few sequences with many draws each, rather than the other way round: what observations add to
    every distribution is then computed once for many draws.

    Args:
        lengths: frames per sequence, (N,).
        draws: of every sequence.

    >>> list(chunks(np.array([3, 3]), 2))
    [(array([0, 1]), slice(0, 2, None))]
    >>> [(rows.tolist(), part) for rows, part in chunks(np.array([2_000, 9]), 3)]
    [([1], slice(0, 3, None)), ([0], slice(0, 2, None)), ([0], slice(2, 3, None))]
    """
    for rows in evaluation_batches(lengths, max(1, FRAMES_AT_ONCE // draws)):
        size = max(1, FRAMES_AT_ONCE // (len(rows) * int(lengths[rows].max())))
        for start in range(0, draws, size):
            yield rows, slice(start, min(start + size, draws))
