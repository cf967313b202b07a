"""Learning rates over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

Shape = Callable[[float], float]

SHAPES: dict[str, Shape] = {
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "linear": lambda share: 1 - share,
}


class FallingRates:
    r"""Learning rates that fall from their start to zero over a run.

    With the share s of the run that is done,

    .. math:: \eta(s) = \tfrac12 \eta_0 (1 + \cos \pi s) \quad \text{or} \quad
        \eta(s) = \eta_0 (1 - s)

    Args:
        optimizers: the optimisers, with their rates at the start of the run.
        shape: "cosine" or "linear".
    """

    def __init__(self, optimizers: Iterable[Any], shape: str) -> None:
        self.optimizers = tuple(optimizers)
        self.start = [group["lr"] for group in self._groups()]
        self.shape = SHAPES[shape]

    def set(self, share: float) -> None:
        """Set the rates of a share of the run in [0,1]."""
        factor = self.shape(min(share, 1.0))
        for group, start in zip(self._groups(), self.start, strict=True):
            group["lr"] = factor * start

    def _groups(self) -> list[dict[str, Any]]:
        # Loading a state replaces them.
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]
