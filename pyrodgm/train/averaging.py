"""The exponential average of weights that is evaluated and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


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
        self._decay = decay
        self._averaged: list[Tensor] = [*self.module.parameters()]
        self._current: list[Tensor] = [*modules.parameters()]

    def update(self) -> None:
        """Add the current weights to the average; the first ones, and buffers, are copied."""
        decay = warm_decay(self._decay, self.count) if self.count else 0.0
        if self._averaged:
            get_ema_multi_avg_fn(decay)(self._averaged, self._current, self.count)
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


def warm_decay(decay: float, count: int) -> float:
    r"""The weight of the past after n updates, smaller at first: initial weights do not persist.

    .. math:: \bar w \leftarrow \bar w + (1 - d_n) (w - \bar w), \qquad
        d_n = \min(d, \tfrac{1 + n}{10 + n})

    Args:
        decay: weight of the past in the long run, d.
        count: number of updates in the average, n.

    >>> warm_decay(0.5, 1), warm_decay(0.5, 100)
    (0.18181818181818182, 0.5)
    """
    return min(decay, (1 + count) / (10 + count))
