"""The order of training: batches of sequences of similar length, reproducible and resumable."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator

TOLERANCE = 0.06  # padding that a batch may hold, in mean full batches
BLUR = 0.06  # noise on lengths before sorting, in mean lengths: batches differ between epochs


class BatchSampler(Iterator[np.ndarray]):
    """An endless stream of batches of rows; every epoch holds every row exactly once.

    An epoch is a function of (seed, epoch) alone, so resuming at any batch is exact and needs no
    replay. Batches hold sequences of similar length. A batch is closed early if its padding would
    exceed 6 % of a mean batch; this happens to the longest sequences. A batch size of at least N
    gives one batch with all rows.

    Args:
        lengths: frames per sequence, (N,).
        batch_size: sequences per batch at most, over all processes together.
        seed: of the order.
        rank: number of this process; it receives rows rank, rank + world_size, ... of each batch.
        world_size: number of processes. In a batch with fewer rows, rows repeat, so that every
            process has work.
        owned: whether every row stays on one process for all epochs; needed for per-row state.

    Raises:
        UsageError: no sequences, a batch size below world_size, or a rank out of range.

    >>> sampler = BatchSampler(np.ones(5), batch_size=2, seed=0)
    >>> sorted(np.concatenate([next(sampler) for _ in range(3)]).tolist())
    [0, 1, 2, 3, 4]
    >>> sampler.state_dict()
    {'epoch': 0, 'position': 3}
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        owned: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not one of {world_size} processes")
        if batch_size < world_size:
            raise UsageError(
                f"batch size {batch_size} is less than the number of processes, {world_size}; "
                f"give at least {world_size}"
            )
        if len(lengths) == 0:
            raise UsageError("there are no sequences to batch")
        if owned and len(lengths) < world_size:
            raise UsageError(
                f"there are {len(lengths)} sequences for {world_size} processes, and each process "
                "needs one of its own; use fewer processes"
            )
        self._lengths = np.asarray(lengths)
        self._ends = np.cumsum(_sizes(np.sort(self._lengths)[::-1], batch_size))
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._owned = owned
        self._start(epoch=0)

    @property
    def batches_per_epoch(self) -> int:
        """Batches in which every row occurs once."""
        return len(self._ends)

    def __next__(self) -> np.ndarray:
        if self._position == self.batches_per_epoch:
            self._start(self._epoch + 1)
        rows = self._batches[self._position]
        self._position += 1
        return rows

    def state_dict(self) -> dict[str, int]:
        """Position of the stream."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue at the position of another sampler that was built with the same arguments.

        Raises:
            UsageError: the position lies beyond the epoch, so the arguments were different.
        """
        epoch, position = state["epoch"], state["position"]
        if position > self.batches_per_epoch:
            raise UsageError(
                f"cannot resume at batch {position} of {self.batches_per_epoch}: "
                "the data or the batch size has changed"
            )
        self._start(epoch, position)

    def _start(self, epoch: int, position: int = 0) -> None:
        self._epoch, self._position = epoch, position
        rng = numpy_generator(self._seed, "batches", str(epoch))
        noise = BLUR * self._lengths.mean() * rng.uniform(-1, 1, len(self._lengths))
        deal = self._own_shares if self._owned else self._shares
        batches = deal(self._lengths + noise)
        self._batches = [batches[place] for place in rng.permutation(len(batches))]

    def _shares(self, lengths: np.ndarray) -> list[np.ndarray]:
        """The rows of this process in every batch; each batch is divided among all processes."""
        batches = np.split(np.argsort(-lengths), self._ends[:-1])
        whole = [np.resize(rows, max(len(rows), self._world_size)) for rows in batches]
        return [rows[self._rank :: self._world_size] for rows in whole]

    def _own_shares(self, lengths: np.ndarray) -> list[np.ndarray]:
        """The same if a row stays on one process.

        Place p in the order of all rows belongs to process p mod W, so that the number of rows per
        process and batch differs by at most one from `_shares`.
        """
        own = np.argsort(-self._lengths, kind="stable")[self._rank :: self._world_size]
        own = own[np.argsort(-lengths[own])]
        # Rows of this process before each place at which a batch ends.
        ends = (self._ends - self._rank + self._world_size - 1) // self._world_size
        starts = np.concatenate([[0], ends[:-1]])
        starts = np.minimum(starts, len(own) - 1)
        return [own[a : max(a + 1, b)] for a, b in zip(starts, ends, strict=True)]


def _sizes(lengths: np.ndarray, batch_size: int) -> list[int]:
    """Rows of every batch of sequences that are sorted by length, the longest first."""
    if batch_size >= len(lengths):
        return [len(lengths)]
    tolerated = TOLERANCE * batch_size * lengths.mean()
    sizes: list[int] = []
    start = 0
    while start < len(lengths):
        padding = np.cumsum(lengths[start] - lengths[start : start + batch_size])
        sizes.append(int(np.searchsorted(padding, tolerated, side="right")))
        start += sizes[-1]
    return sizes


def evaluation_batches(lengths: np.ndarray, frames_per_batch: int) -> list[np.ndarray]:
    """Batches of rows for one pass over all sequences, sorted by length.

    Args:
        lengths: frames per sequence, (N,).
        frames_per_batch: bound on the frames of a batch, padding included; a sequence longer
            than that is a batch of its own.

    Raises:
        UsageError: the bound is not positive.

    >>> [rows.tolist() for rows in evaluation_batches(np.array([9, 2, 3, 2]), 6)]
    [[1, 3], [2], [0]]
    """
    if frames_per_batch < 1:
        raise UsageError(f"frames_per_batch is {frames_per_batch}; give at least 1")
    order = np.argsort(lengths, kind="stable")
    starts = [0]
    for place, row in enumerate(order):
        if place > starts[-1] and (place + 1 - starts[-1]) * lengths[row] > frames_per_batch:
            starts.append(place)
    return np.split(order, starts[1:])


def padding_share(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    """Share of the frames of padded batches that is padding, in [0, 1).

    >>> padding_share(np.array([1, 2]), [np.array([0, 1])])
    0.25
    """
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1 - sum(int(lengths[rows].sum()) for rows in batches) / padded
