"""The number of operations that draws take, counted on one sequence before the draws are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from pyrodgm.data.base import Sequences
from pyrodgm.engine.draws import pair_factors, simulate
from pyrodgm.engine.particles import beginning
from pyrodgm.evaluate.passes import drawing
from pyrodgm.guides import Guide
from pyrodgm.models import Model, StepModel

PER_NUMBER = 30  # an elementwise function takes about as long per number as 30 multiply-adds
FRAMES = 16  # of the sequence on which operations are counted


@dataclass(frozen=True)
class Work:
    """Operations per frame, in multiply-adds; a core does about 10^10 of them in a second.

    Args:
        once: for any number of draws, such as the features of the data.
        each: for each draw.

    >>> (Work(10, 2) + Work(0, 1)).of(draws=5)
    25
    """

    once: float
    each: float

    def of(self, draws: int) -> float:
        """Operations of so many draws of a frame."""
        return self.once + draws * self.each

    def __add__(self, other: Work) -> Work:
        return Work(self.once + other.once, self.each + other.each)


def weighing(model: Model, guide: Guide, sequences: Sequences) -> Work:
    """The work of draws from the guide with their importance weights.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: one of them is drawn for; at least one.
    """
    return _counted(lambda batch, draws: pair_factors(model, guide, batch, draws), model, sequences)


def replicating(model: StepModel, sequences: Sequences) -> Work:
    """The work of draws from the model.

    Args:
        model: the model p.
        sequences: that the draws have the conditions of; at least one.
    """
    return _counted(lambda batch, draws: simulate(model, batch, draws), model, sequences)


def _counted(made: Callable[..., Any], model: Model, sequences: Sequences) -> Work:
    """The work of a function of a batch and a number of draws, from one draw and from two."""
    batch = beginning(sequences.batch([0]), torch.tensor([min(FRAMES, sequences.lengths[0])]))
    found = []
    with drawing(model, 0, "work") as device:
        batch = batch.to(device)
        for draws in (1, 2):
            with _Operations() as operations:
                made(batch, draws)
            found.append(operations.count / batch.length)
    one, two = found
    each = max(two - one, 0)
    return Work(max(one - each, 0), each)


class _Operations(TorchDispatchMode):
    """Counts multiply-adds of matrix products and convolutions, and numbers that others handle.

    Attributes:
        count: in multiply-adds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation of torch and count it; views are free."""
        out = func(*args, **(kwargs or {}))
        flops = flop_registry.get(func._overloadpacket)
        if flops is not None:
            self.count += flops(*args, **(kwargs or {}), out_val=out) / 2
        elif not func.is_view:
            sizes = [each.numel() for each in (*args, out) if isinstance(each, Tensor)]
            self.count += PER_NUMBER * max(sizes, default=0)
        return out

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under this mode, and torch's compiler takes seconds to import."""
        return False
