"""Errors that name the part of a loss that is not finite."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from pyrodgm.batch import Batch
from pyrodgm.errors import NonFiniteError
from pyrodgm.objectives import Loss, Phase


class NonFiniteLoss(NonFiniteError):
    """A loss or gradient that is not finite, with the parts that caused it and the batch."""

    def __init__(
        self, objective: nn.Module, phase: Phase, loss: Loss, batch: Batch, step: int
    ) -> None:
        self.batch = batch
        self.step = step
        self.sites = [name for name, term in loss.sites.items() if not torch.isfinite(term).all()]
        value = loss.surrogate.detach().item()
        what = f"step {step}: the loss of phase '{phase.name}' is {value:g}"
        if self.sites:
            where = f"not finite at {', '.join(self.sites)}"
        elif math.isfinite(value):
            where = f"its gradient is not finite in {_not_finite(objective, phase)}"
        else:
            where = "every site is finite, so the cause is in the objective itself"
        rate = "fit.lr" if phase.optimizer is None else f"the learning rate of '{phase.name}'"
        super().__init__(f"{what}; {where}. Lower {rate}, or inspect the batch")

    def kept(self, path: Path) -> NonFiniteLoss:
        """The same error, with the path of the saved batch."""
        self.args = (f"{self.args[0]} saved in {path}",)
        return self


def _not_finite(objective: nn.Module, phase: Phase) -> str:
    """Names of the parameters of a phase whose gradient is not finite."""
    own = {id(parameter) for parameter in phase.parameters()}
    bad = [
        name
        for name, p in objective.named_parameters()
        if id(p) in own and p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    return ", ".join(bad) or "another process"


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
