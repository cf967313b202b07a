"""Passes over sequences in portions of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.engine.smc import frame_evidence
from pyrodgm.errors import UsageError
from pyrodgm.guides import Guide, ImplicitGuide, StepGuide
from pyrodgm.models import Model, StepModel
from pyrodgm.seeds import forked

FRAMES_AT_ONCE = 5_000  # draws x padded frames scored together: bounds memory, not results
NUMBERS_AT_ONCE = 10_000_000  # the same for wide frames: frames x numbers in a frame
PARTICLE_NUMBERS_AT_ONCE = 20_000_000  # frames x features held by one particle filter
PARTICLE_ROWS_AT_ONCE = 5_000  # particles x sequences of one particle filter
LOOP_COST = 300  # of a frame in a loop over frames, in particles x sequences
DRAWS_AT_ONCE = 8  # minimum for long sequences: a loop over frames costs about the same for one

Progress = Callable[[float], None]


def silent(share: float) -> None:
    """Ignore progress."""
    del share


@contextmanager
def drawing(model: Model, seed: int, *stream: str) -> Iterator[torch.device]:
    """Draw without gradients, from a separate random stream; the global generator is left alone.

    Args:
        model: its device is the result.
        seed: of the draws.
        stream: names that distinguish this stream from others with the same seed.
    """
    with torch.no_grad(), forked(seed, *stream):
        yield next(model.parameters()).device


def chunks(
    lengths: np.ndarray,
    draws: int,
    *,
    width: int = 1,
    frames: int = FRAMES_AT_ONCE,
    progress: Progress = silent,
) -> Iterator[tuple[np.ndarray, slice]]:
    """Portions of the draws of all rows: rows of similar length, and a slice of their draws.

    Portions have few sequences with many draws each, because contributions of the observations are
    computed once for all draws.

    Args:
        lengths: frames per sequence, (N,).
        draws: of every sequence.
        width: numbers per draw of a frame.
        frames: draws times padded frames of a portion.
        progress: called with the share done, in [0, 1].

    >>> list(chunks(np.array([3, 3]), 2))
    [(array([0, 1]), slice(0, 2, None))]
    >>> [(rows.tolist(), part) for rows, part in chunks(np.array([500, 9]), 12)]
    [([1], slice(0, 12, None)), ([0], slice(0, 10, None)), ([0], slice(10, 12, None))]
    """
    most, done = min(frames, NUMBERS_AT_ONCE // width), 0
    batches = evaluation_batches(lengths, max(1, most // draws))
    total = draws * sum(_padded(lengths, rows) for rows in batches)
    for rows in batches:
        padded = _padded(lengths, rows)
        several = min(DRAWS_AT_ONCE, NUMBERS_AT_ONCE // (width * padded))
        size = max(1, most // padded, several)
        for start in range(0, draws, size):
            part = slice(start, min(start + size, draws))
            yield rows, part
            done += padded * (part.stop - part.start)
            progress(done / total)


def _padded(lengths: np.ndarray, rows: np.ndarray) -> int:
    return len(rows) * int(lengths[rows].max())


def portions(sequences: Sequences, particles: int) -> Iterator[np.ndarray]:
    """Portions of rows of similar length for particle filters, which bound memory.

    Args:
        sequences: N of them.
        particles: per sequence, K.
    """
    frames = max(1, PARTICLE_NUMBERS_AT_ONCE // sequences.x.shape[1])
    for rows in evaluation_batches(sequences.lengths, frames):
        for alike in _alike(sequences.lengths, rows, particles):
            parts = math.ceil(len(alike) * particles / min(PARTICLE_ROWS_AT_ONCE, frames))
            yield from np.array_split(alike, min(parts, len(alike)))


def _alike(lengths: np.ndarray, rows: np.ndarray, particles: int) -> list[np.ndarray]:
    r"""Rows, which are sorted by length, in groups whose loops over frames cost least together.

    .. math:: \text{cost} = T (c + N K)

    for a group of N rows with T frames at most: groups of similar length have less padding, and
    each has a loop of its own. A group is cut in two where this is cheapest, again and again.
    """
    last, sizes = lengths[rows], np.arange(1, len(rows))
    whole = last[-1] * (LOOP_COST + len(rows) * particles)
    cut = last[:-1] * (LOOP_COST + sizes * particles)
    cut = cut + last[-1] * (LOOP_COST + (len(rows) - sizes) * particles)
    if not len(sizes) or cut.min() >= whole:
        return [rows]
    place = int(cut.argmin()) + 1
    first, second = rows[:place], rows[place:]
    return [*_alike(lengths, first, particles), *_alike(lengths, second, particles)]


def sequence_evidence(
    model: Model, guide: Guide, sequences: Sequences, *, particles: int, seed: int = 0
) -> np.ndarray:
    """The estimate of log p(x) of every sequence by a particle filter, (N,), in nats.

    Raises:
        UsageError: no particles, or no sequence model with its guide.
    """
    p, q = over_time(model, guide)
    check_whole(particles=particles)
    nats = np.empty(len(sequences))
    with drawing(p, seed, "particle filter") as device:
        for rows in portions(sequences, particles):
            found = frame_evidence(p, q, sequences.batch(rows).to(device), particles)
            nats[rows] = found.sum(-1).cpu().numpy()
    return nats


def over_time(model: Model, guide: Guide) -> tuple[StepModel, StepGuide]:
    """The same model and guide, checked to be sequence models.

    Raises:
        UsageError: one of them is not.
    """
    if isinstance(model, StepModel) and isinstance(guide, StepGuide):
        return model, guide
    if isinstance(guide, ImplicitGuide):
        raise UsageError(
            f"{type(guide).__name__} draws the latents of independent rows, and prediction needs "
            "frames that follow each other and a guide that runs over time; pyrodgm evaluate, "
            "sample and report work"
        )
    other = guide if isinstance(model, StepModel) else model
    raise UsageError(
        f"{type(other).__name__} does not give the distribution of a frame given those before it, "
        "which prediction, imputation and particle filtering need of the model, and of the guide "
        "for its latents; pyrodgm evaluate without options, sample and report show what there is"
    )
