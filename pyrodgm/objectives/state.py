"""State of objectives across steps: averages, Markov chains, per-row caches."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError

Apply = Callable[[Tensor], Tensor]
KNOWN_ROWS = "use batches of the training data, with their index of rows"


class Running(nn.Module):
    r"""An exponential moving average, the same on all processes.

    .. math:: m \leftarrow \gamma m + (1 - \gamma)\, v

    Each process updates its own value, and after the step all processes use the mean.

    Args:
        decay: weight of the past, :math:`\gamma`.
        start: initial value, a number or a tensor of any shape.

    >>> mean = Running(0.75, start=4.0)
    >>> mean.update(torch.tensor(8.0))
    >>> mean.value
    tensor(5.)
    """

    value: Tensor

    def __init__(self, decay: float, start: float | Tensor = 0.0) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.as_tensor(start))

    def update(self, new: Tensor) -> None:
        """Update with a new value; out of place, because the old one may be part of a graph."""
        self.value = self.decay * self.value + (1 - self.decay) * new.detach()


class RunningFromFirst(Running):
    r"""An exponential moving average that starts at the first value, and is NaN before it.

    It is of the right size after few updates too.

    Args:
        decay: weight of the past, :math:`\gamma`.

    >>> mean = RunningFromFirst(0.75)
    >>> mean.update(torch.tensor(4.0))
    >>> mean.update(torch.tensor(8.0))
    >>> mean.value
    tensor(5.)
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay, start=math.nan)

    def update(self, new: Tensor) -> None:
        """Update with a new value."""
        self.value = torch.where(self.value.isnan(), new.detach(), self.value)
        super().update(new)


class OwnState(nn.Module):
    """State of one process that is not shared or averaged.

    It is part of every checkpoint, for each process, but not of the weights: a fitted model does
    not need it.
    """

    @abstractmethod
    def own_state(self) -> dict[str, Any]:
        """The state as tensors and plain values."""

    @abstractmethod
    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state from `own_state`."""

    @abstractmethod
    def move(self, change: Apply) -> None:
        """Apply a change of device or type to every tensor."""

    def _apply(self, fn: Apply, recurse: bool = True) -> Self:
        self.move(fn)
        return super()._apply(fn, recurse)


class Chains(OwnState):
    """States of Markov chains by name; each process has its own.

    >>> chains = Chains()
    >>> chains["x"] = torch.zeros(3, 2)
    >>> "x" in chains, chains["x"].shape
    (True, torch.Size([3, 2]))
    """

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._states:
            raise UsageError(
                f"there are no chains '{name}' yet (existing: {', '.join(self._states) or 'none'})"
                "; start them in the objective's begin"
            )
        return self._states[name]

    def __setitem__(self, name: str, state: Tensor) -> None:
        self._states[name] = state.detach()

    def __contains__(self, name: object) -> bool:
        return name in self._states

    def own_state(self) -> dict[str, Any]:
        """The states by name."""
        return {name: state.cpu() for name, state in self._states.items()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the states of a checkpoint."""
        self._states = dict(state)

    def move(self, change: Apply) -> None:
        """Apply a change of device or type to every state."""
        self._states = {name: change(state) for name, state in self._states.items()}


class RowCache(OwnState):
    """A value for each row of the training data, or for each of its frames.

    Rows are those of `Batch.index`. If an objective has a `RowCache`, every row stays on one
    process for the whole run, so values are never exchanged.

    Args:
        shape: of one value, such as the size of a latent vector.
        per_frame: whether there is a value per frame, or one per row.
        dtype: of the values.
        in_chunks: whether a batch may hold a part of each row (`fit.chunk`).

    >>> cache, batch = RowCache(per_frame=False), Batch.of(torch.ones(2, 3, 4))
    >>> cache.begin(Sequences(torch.ones(6, 4).numpy(), torch.tensor([3, 3]).numpy()))
    >>> cache.write(batch, torch.tensor([5.0, 7.0]))
    >>> cache.read(batch)
    tensor([5., 7.])
    """

    def __init__(
        self,
        *shape: int,
        per_frame: bool = True,
        dtype: torch.dtype = torch.float32,
        in_chunks: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.per_frame, self.dtype = shape, per_frame, dtype
        self.in_chunks = in_chunks
        self._lengths = self._starts = torch.zeros(0, dtype=torch.int64)
        self._written = torch.zeros(0, dtype=torch.bool)
        self._values = torch.zeros(1, *shape, dtype=dtype)

    def begin(self, training: Sequences, values: Tensor | None = None) -> None:
        """Allocate the cache for all rows of the training data.

        Args:
            training: the training data.
            values: of all frames, or of all rows, one after the other; zero if not given.
        """
        device = self._values.device
        lengths = torch.from_numpy(training.lengths).to(device)
        self._lengths = lengths if self.per_frame else torch.ones_like(lengths)
        self._starts = self._lengths.cumsum(0) - self._lengths
        self._written = torch.zeros(len(lengths), dtype=torch.bool, device=device)
        # One more place, into which padding is written.
        size = int(self._lengths.sum()) + 1
        self._values = torch.zeros(size, *self.shape, dtype=self.dtype, device=device)
        if values is not None:
            self._values[:-1] = values.to(self._values)

    def written(self, batch: Batch) -> Tensor:
        """Whether values of each row of a batch were written, (B,)."""
        return self._written[self._rows(batch)]

    def read(self, batch: Batch) -> Tensor:
        """The values of a batch, (B, T, ...) or (B, ...); zero in padding."""
        values = self._values[self._places(batch)]
        if not self.per_frame:
            return values
        return values.masked_fill(
            ~batch.mask.reshape(*batch.mask.shape, *(1,) * len(self.shape)), 0
        )

    def write(self, batch: Batch, values: Tensor) -> None:
        """Store the values of a batch, (B, T, ...) or (B, ...).

        Raises:
            UsageError: the values have another shape.
        """
        places = self._places(batch)
        if values.shape != (*places.shape, *self.shape):
            raise UsageError(
                f"a row cache was given values of shape {tuple(values.shape)} for {batch.size} "
                f"rows of {batch.length} frames; expected {(*places.shape, *self.shape)}"
            )
        self._values[places] = values.detach().to(self.dtype)
        self._written.index_fill_(0, self._rows(batch), True)

    def own_state(self) -> dict[str, Any]:
        """The rows that were written here and their values."""
        rows = self._written.nonzero().flatten()
        return {"rows": rows.cpu(), "values": self._values[self._all_places(rows)].cpu()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Restore the rows of a checkpoint."""
        rows = state["rows"].to(self._values.device)
        self._values[self._all_places(rows)] = state["values"].to(self._values)
        self._written[rows] = True

    def move(self, change: Apply) -> None:
        """Apply a change of device to everything; types do not change."""
        self._values = change(self._values).to(self.dtype)
        self._written, self._lengths = change(self._written), change(self._lengths)
        self._starts = change(self._starts)

    def _rows(self, batch: Batch) -> Tensor:
        """The rows of a batch, checked on the CPU only: on a GPU every step would wait.

        Raises:
            UsageError: the cache has no size, or they are not rows of the training data.
        """
        if len(self._lengths) == 0:
            raise UsageError(
                "a row cache was used before its size was set; call its begin(training) in the "
                "objective's begin"
            )
        if not batch.index.is_cuda:
            self._check_rows(batch)
        return batch.index

    def _check_rows(self, batch: Batch) -> None:
        """Check that a batch is of the training data; the dry run of every fit does so on the CPU.

        Raises:
            UsageError: it is not.
        """
        rows = batch.index
        if int(rows.min()) < 0 or int(rows.max()) >= len(self._lengths):
            raise UsageError(
                f"row {int(rows.max())} is not in a row cache of {len(self._lengths)} rows; "
                f"{KNOWN_ROWS}"
            )
        ends, lengths = batch.before.frames + batch.lengths, self._lengths[rows]
        fits = bool((ends <= lengths).all()) if self.in_chunks else torch.equal(ends, lengths)
        if self.per_frame and not fits:
            raise UsageError(
                "rows of a batch differ in length from the same rows of the training data; "
                f"{KNOWN_ROWS}"
            )

    def _places(self, batch: Batch) -> Tensor:
        """Places of the values of a batch, (B, T) or (B,); the last place for padding."""
        starts = self._starts[self._rows(batch)]
        if not self.per_frame:
            return starts
        places = starts[:, None] + batch.frames.to(starts.device)
        return torch.where(batch.mask, places, len(self._values) - 1)

    def _all_places(self, rows: Tensor) -> Tensor:
        """Places of the values of rows, one row after the other."""
        lengths = self._lengths[rows]
        before = lengths.cumsum(0) - lengths
        time = torch.arange(int(lengths.sum()), device=rows.device)
        return time + (self._starts[rows] - before).repeat_interleave(lengths)
