"""The exponential average of weights that is evaluated and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn


class Average:
    """Averaged weights of modules, beside those in training.

    Args:
        modules: whose parameters are averaged.
        decay: weight of the past in the long run.

    Attributes:
        module: a copy of the modules with averaged weights.
        count: number of updates in the average.
    """

    def __init__(self, modules: nn.Module, decay: float) -> None:
        self.module = deepcopy(modules)
        self.count = 0
        self._training = modules
        self._update = warm_average(decay)

    def update(self) -> None:
        """Add the current weights to the average; the first ones, and buffers, are copied."""
        current = [parameter.detach() for parameter in self._training.parameters()]
        averaged = [parameter.detach() for parameter in self.module.parameters()]
        if self.count:
            self._update(averaged, current, self.count)
        else:
            for kept, new in zip(averaged, current, strict=True):
                kept.copy_(new)
        self.count += 1
        # Statistics of the data, such as those of batch normalisation, are averages themselves.
        for kept, new in zip(self.module.buffers(), self._training.buffers(), strict=True):
            kept.copy_(new)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Give the modules the averaged weights inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        both = zip(self._training.parameters(), self.module.parameters(), strict=True)
        for training, averaged in both:
            training.data, averaged.data = averaged.data, training.data


def warm_average(decay: float) -> Callable[..., None]:
    r"""An exponential average of weights with a warm-up, so that initial weights do not persist.

    .. math:: \bar w \leftarrow \bar w + (1 - d_n) (w - \bar w), \qquad
        d_n = \min(d, \tfrac{1 + n}{10 + n})

    Args:
        decay: weight of the past in the long run, d.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], n: int) -> None:
        weight = 1 - min(decay, (1 + n) / (10 + n))
        for kept, new in zip(averaged, current, strict=True):
            kept.lerp_(new, weight)

    return update
