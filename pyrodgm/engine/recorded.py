"""What drawing a path leaves for scoring it: states, and distributions on the same values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.engine.past import Past


class FrameRecord:
    """What was drawn in the frames so far, and what need not be computed again to score it.

    Args:
        names: of the sites that are drawn.
        keep: whether states and distributions are kept.
    """

    def __init__(self, names: Collection[str], *, keep: bool) -> None:
        self.keep = keep
        self.paths: dict[str, list[Tensor]] = {name: [] for name in names}
        self.states: dict[str, list[Tensor]] = {}
        self._drawn_from: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, name: str, value: Tensor, distribution: TorchDistribution) -> None:
        """The draw of a site in the frame that is next."""
        self.paths[name].append(value)
        if self.keep:
            self._drawn_from[name].append(distribution)

    def end_frame(self, past: Past) -> None:
        """Let the frame's draws enter the past, and keep its states."""
        for name, path in self.paths.items():
            past.push(name, path[-1], path[-1].shape[-1])
        if self.keep:
            for name, state in past.states.items():
                self.states.setdefault(name, []).append(state)

    @property
    def can_score(self) -> bool:
        """Whether the distributions of frames can be put side by side."""
        return self.keep and all(hasattr(d[0], "over_time") for d in self._drawn_from.values())

    def distributions(self) -> dict[str, TorchDistribution]:
        """Of every site in all frames."""
        return {name: each[0].over_time(each) for name, each in self._drawn_from.items()}


class ScoredPath:
    """Distributions at every frame, and the paths that they were computed on.

    Args:
        paths: value of every site.
        score: gives the distribution of every site; called at the first use.
    """

    def __init__(
        self, paths: Mapping[str, Tensor], score: Callable[[], dict[str, TorchDistribution]]
    ) -> None:
        self.paths, self.score = paths, score
        self.with_gradient = torch.is_grad_enabled()

    @cached_property
    def distributions(self) -> dict[str, TorchDistribution]:
        return self.score()

    def holds(self, values: Mapping[str, Tensor]) -> bool:
        """Whether they belong to these paths, and carry gradients if gradients are enabled."""
        same = all(self.paths.get(name) is value for name, value in values.items())
        return same and self.with_gradient == torch.is_grad_enabled()
