"""The batches of training, whole or in chunks that carry states from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pyrodgm.batch import Batch
from pyrodgm.carried import Before
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import BatchSampler
from pyrodgm.engine.chunks import pieces


class Batches(Iterator[Batch]):
    """An endless stream of batches; with `longest`, every batch goes by in consecutive chunks.

    The next chunk starts from the end of the one before, which is drawn when the next one is asked
    for, by the parameters of that time. Sequences that have ended leave the batch.

    Args:
        sequences: the training data.
        sampler: of rows.
        device: of the batches.
        longest: frames of a chunk at most; None for whole sequences.
        end_of: draws what lies before the frame after a chunk.

    Attributes:
        whole: the batch that the current chunk belongs to, on the host; None before the first.
    """

    def __init__(
        self,
        sequences: Sequences,
        sampler: BatchSampler,
        device: torch.device,
        longest: int | None,
        end_of: Callable[[Batch], Before],
    ) -> None:
        self.sequences, self.sampler, self.device = sequences, sampler, device
        self.longest, self.end_of = longest, end_of
        self.whole: Batch | None = None
        self._current: Batch | None = None
        self._pieces: list[tuple[int, int]] = []
        self._place = 0

    def __next__(self) -> Batch:
        self._place += 1
        if self._current is None or self._place >= len(self._pieces):
            self._begin(next(self.sampler))
            self._current = self._chunk(Before())
        else:
            self._current = self._chunk(self._carried(self._current))
        return self._current

    def _begin(self, rows: np.ndarray) -> None:
        """Take up the first chunk of a batch."""
        self.whole = self.sequences.batch(rows)
        length = self.whole.length
        self._pieces, self._place = pieces(length, self.longest or length), 0

    def _chunk(self, before: Before) -> Batch:
        """The chunk at the current place, on the device."""
        assert self.whole is not None
        single = len(self._pieces) == 1
        chunk = self.whole if single else self.whole.chunk(*self._pieces[self._place])
        return (
            replace(chunk.to(self.device), before=before)
            if before.frames
            else chunk.to(self.device)
        )

    def _carried(self, chunk: Batch) -> Before:
        """The end of a chunk, of the sequences that go on."""
        assert chunk.host_lengths is not None
        goes_on = self._lengths(self._place - 1) > self._pieces[self._place][0]
        return self.end_of(chunk).rows(torch.from_numpy(goes_on.nonzero()[0]))

    def _lengths(self, place: int) -> np.ndarray:
        """Whole lengths of the sequences that a chunk holds."""
        assert self.whole is not None
        assert self.whole.host_lengths is not None
        lengths = self.whole.host_lengths
        return lengths[lengths > self._pieces[place][0]]

    def state_dict(self) -> dict[str, Any] | None:
        """The chunk that was given last and what lies before it; None if no chunk follows it."""
        if self.whole is None or self._current is None or self._place + 1 >= len(self._pieces):
            return None
        before = self._current.before
        return {
            "rows": self.whole.index,
            "place": self._place,
            "frames": before.frames,
            "windows": dict(before.windows),
            "states": dict(before.states),
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continue after the chunk of another stream that was built with the same arguments."""
        if state is not None:
            self._begin(state["rows"].numpy())
            self._place = state["place"]
            before = Before(state["frames"], state["windows"], state["states"])
            self._current = self._chunk(before.to(self.device))
