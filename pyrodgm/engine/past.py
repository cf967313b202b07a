"""The past of a frame in a step: shifted paths, moving windows, states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.engine.cells import Cell, StochasticCell
from pyrodgm.lags import Lags, lagged

Draw = Callable[[str, TorchDistribution], Tensor]
Drive = Tensor | Callable[[], Tensor]


class Past(dict[str, Tensor]):
    """The past of one frame: ``past[name]`` holds the last n values of a site, newest first.

    Args:
        windows: these values by name, (..., n D).
        start: deterministic states before the first frame, (B, S), by name; zeros for others.

    Attributes:
        states: deterministic states so far, (..., S), by name.
        moved: those that another program with the same recurrence has moved on to this frame.
    """

    def __init__(
        self, windows: Mapping[str, Tensor], start: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__(windows)
        self.start = start or {}
        self.states: dict[str, Tensor] = {}
        self.moved: Mapping[str, Tensor] = {}

    def carry(self, name: str, drive: Drive, cell: Cell) -> Tensor:
        """Move a deterministic state on by one frame and return its output, (..., H).

        What does not depend on the state belongs into `drive`: where all frames are known, it is
        computed for all of them at once, and only the recurrence itself runs frame by frame.

        Args:
            name: of the state; every step must carry it exactly once. A model and its guide that
                carry the same recurrence give it the same name, and it runs once for both.
            drive: this frame's input, (..., E), or a function that computes it; where the states
                are known, it is not called.
            cell: the recurrence.
        """
        if (moved := self.moved.get(name)) is not None:
            self.states[name] = moved
            return moved[..., : cell.dim]
        drive, state = computed(drive), self.states.get(name)
        if state is None and (start := self.start.get(name)) is not None:
            state = start.expand(*drive.shape[:-1], -1)
        elif state is None:
            state = drive.new_zeros(*drive.shape[:-1], cell.state_dim)
        self.states[name] = state = cell(drive, state)
        return state[..., : cell.dim]

    def chain(self, draw: Draw, name: str, drive: Tensor, cell: StochasticCell) -> Tensor:
        """Draw a site whose past enters only through its own cell, and return its value, (..., D).

        The counterpart of `carry` for draws: what does not depend on the site's own past belongs
        into `drive`. A program that draws all its sites so, each given nothing but observations
        and sites before it, may say that it is `chained`: its paths are then drawn one site after
        the other, and the drive of each is computed for all frames at once.

        Args:
            draw: as the step was given it.
            name: of the site.
            drive: what else the site depends on in this frame, (..., E).
            cell: gives its distribution from the drive and from its last n values.
        """
        return draw(name, cell.distribution(drive, self[name]))

    def seen(self, name: str) -> Tensor | None:
        """Which of the last n values of a site were observed, (..., n D); None where all were."""
        return self.get(seen_key(name))

    def push(self, name: str, value: Tensor, dim: int) -> None:
        """Let a new value enter the window of a site."""
        self[name] = push(self[name], value, dim)


class ShiftedPast(Past):
    """The past of all frames at once, shifted on first use; states run over all of time.

    Args:
        values: values of every site, (..., T, D).
        history: number of lags n.
        path_states: states along a path, (..., T, S), for values that leave the path in one frame
            only; without them, states follow the values.
        lags: gives the lags of a site; `Lags` of its own if not given.
        known_states: states along the values, (..., T, S); their recurrence does not run again.
        start: states before the first frame, (B, S), by name; zeros for others.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor],
        history: int,
        path_states: Mapping[str, Tensor] | None = None,
        lags: Callable[[str, Tensor, int], Tensor] | None = None,
        known_states: Mapping[str, Tensor] | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__({}, start)
        self.values_by_name = values
        self.history = history
        self.path_states = path_states or {}
        self.lags = lags or Lags()
        self.known_states = known_states or {}

    def __missing__(self, name: str) -> Tensor:
        past = self[name] = self.lags(name, self.values_by_name[name], self.history)
        return past

    def seen(self, name: str) -> Tensor | None:
        """Which of the last n values of a site were observed, (..., T, n D)."""
        key = seen_key(name)
        return self[key] if key in self.values_by_name else None

    def carry(self, name: str, drive: Drive, cell: Cell) -> Tensor:
        """The outputs of a deterministic state in all frames, (..., T, H)."""
        if name in self.known_states:
            return self.known_states[name][..., : cell.dim]
        if name in self.path_states:
            start = self.start.get(name)
            before = lagged(self.path_states[name], 1, None if start is None else start[:, None])
            return cell(computed(drive), before)[..., : cell.dim]
        return cell.outputs(*self.started(name, computed(drive)))

    def started(self, name: str, drive: Tensor) -> tuple[Tensor] | tuple[Tensor, Tensor]:
        """The input of a recurrence in all frames, and where it starts, if not at zero."""
        if (start := self.start.get(name)) is None:
            return (drive,)
        leading = torch.broadcast_shapes(drive.shape[:-2], start.shape[:-1])
        return drive.expand(*leading, *drive.shape[-2:]), start.expand(*leading, -1)


class PathStates(ShiftedPast):
    """The past of all frames at once that also keeps every state, in the form of `path_states`."""

    def carry(self, name: str, drive: Drive, cell: Cell) -> Tensor:
        """The outputs of a deterministic state in all frames; its states are in `states`."""
        self.states[name] = states = cell.states(*self.started(name, computed(drive)))
        return states[..., : cell.dim]


def computed(drive: Drive) -> Tensor:
    """The input of a recurrence, (..., E)."""
    return drive if isinstance(drive, Tensor) else drive()


def seen_key(name: str) -> str:
    """Where values say which of a site's features were observed."""
    return f"{name} seen"


def join(*parts: Tensor) -> Tensor:
    """Features side by side, (..., sum of D), where leading dimensions broadcast.

    What `torch.cat` does not: in a step, draws may have particles in front that features lack.

    >>> join(torch.ones(5, 1, 2), torch.zeros(3, 4)).shape
    torch.Size([5, 3, 6])
    """
    shapes = {part.shape[:-1] for part in parts}
    if len(shapes) > 1:
        leading = _broadcast(shapes)
        parts = tuple(part.expand(*leading, part.shape[-1]) for part in parts)
    return torch.cat(parts, -1)


def _broadcast(shapes: Iterable[torch.Size]) -> list[int]:
    """What shapes that fit together broadcast to.

    `torch.broadcast_shapes` checks that they do, and takes longer than an operation on a frame.
    """
    dims = zip_longest(*map(reversed, shapes), fillvalue=1)
    return [next((size for size in each if size != 1), 1) for each in dims][::-1]


def push(window: Tensor, value: Tensor, dim: int) -> Tensor:
    """The window of past values after one more frame.

    Args:
        window: the last n values side by side, newest first, (..., n D).
        value: the newest value, (..., D).
        dim: its size D.
    """
    if window.shape[-1] == dim:
        return value
    if window.shape[-1] == 0:
        return window
    return join(value, window[..., :-dim])
