"""Errors that name the part of a loss that is not finite."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from pyrodgm.batch import Batch
from pyrodgm.errors import NonFiniteError
from pyrodgm.objectives import Loss, Phase


class NonFiniteLoss(NonFiniteError):
    """A loss or gradient that is not finite, with the parts that caused it and the batch.

    Args:
        phase: the phase.
        loss: its loss.
        batch: its batch.
        step: number of the step, counted from one.
        gradients: names of the parameters whose gradient is not finite.
    """

    def __init__(
        self, phase: Phase, loss: Loss, batch: Batch, step: int, gradients: Sequence[str]
    ) -> None:
        self.batch = batch
        self.step = step
        self.sites = [name for name, term in loss.sites.items() if not torch.isfinite(term).all()]
        value = loss.surrogate.detach().item()
        what = f"step {step}: the loss of phase '{phase.name}' is {value:g}"
        if self.sites:
            where = f"not finite at {', '.join(self.sites)}"
        elif math.isfinite(value):
            named = ", ".join(gradients) or "another process"
            where = f"its gradient is not finite in {named}"
        elif loss.sites:
            where = "every site is finite, so the cause is in the objective itself"
        else:
            where = "look at what model, guide and critic give"
        of_fit = phase.optimizer is None and phase.lr is None
        rate = "fit.lr" if of_fit else f"the learning rate of '{phase.name}'"
        advice = (
            f"Lower {rate}"
            if step > 1
            else "Nothing has been learned yet: look for a division by zero, a logarithm or root "
            "of a number that is not positive, a negative scale, or an option or data of too large "
            "a scale. Change it"
        )
        super().__init__(f"{what}; {where}. {advice}, or inspect the batch")

    def kept(self, path: Path) -> NonFiniteLoss:
        """The same error, with the path of the saved batch."""
        self.args = (f"{self.args[0]} saved in {path}",)
        return self


@contextmanager
def one_word_of_numbers() -> Iterator[None]:
    """Suppress Pyro's warnings of non-finite numbers, which our error reports with their site.

    Python has one list of warning filters for all threads; only the main thread changes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Encountered (NaN|[+-]inf)")
        yield
