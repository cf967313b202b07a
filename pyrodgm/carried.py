"""What is carried from one chunk of a batch of sequences to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass  # not frozen: device wrappers rebuild it field by field
class Before:
    """What lies before the first frame of a batch; nothing where its sequences begin there.

    Args:
        frames: frames of the sequences before it.
        windows: last values of sites and of named features, newest first, (B, n, D), by name; zero
            before a sequence's first frame.
        states: of deterministic recurrences, (B, S), by name.
    """

    frames: int = 0
    windows: Mapping[str, Tensor] = field(default_factory=dict)
    states: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, index: Tensor) -> Before:
        """That of some of the sequences, in another order or repeated."""
        windows = {name: value[index.to(value.device)] for name, value in self.windows.items()}
        states = {name: value[index.to(value.device)] for name, value in self.states.items()}
        return Before(self.frames, windows, states)

    def repeated(self, copies: int) -> Before:
        """That of several copies of all sequences, one after the other."""
        if not self.frames:
            return self
        windows = {name: value.repeat(copies, 1, 1) for name, value in self.windows.items()}
        states = {name: value.repeat(copies, 1) for name, value in self.states.items()}
        return Before(self.frames, windows, states)

    def to(self, device: torch.device) -> Before:
        """On another device."""
        windows = {name: value.to(device) for name, value in self.windows.items()}
        states = {name: value.to(device) for name, value in self.states.items()}
        return Before(self.frames, windows, states)


@dataclass
class Ends:
    """Where features and recurrences over the observations of a batch end, while it is recorded.

    Args:
        windows: last values of named features, newest first, (B, n, D).
        states: of recurrences in the last frame, (B, S).
    """

    windows: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
