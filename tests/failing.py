"""An objective that is not finite in one step."""

from __future__ import annotations

from typing import ClassVar

import pyro
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import Splits
from pyrodgm.guides import RecurrentBernoulli
from pyrodgm.models import TSBN
from pyrodgm.objectives import Loss, Needs, Objective, Running


class BadAt(Objective):
    """The squared distance of all parameters from the data's mean, of which one step fails.

    Args:
        step: the step whose loss or gradient is not finite, counted from one; 0 for none.
        splits: the data.
        part: "loss", or "gradient" of a finite loss.
    """

    needs: ClassVar[Needs] = Needs()

    def __init__(self, step: int, splits: Splits, part: str = "loss") -> None:
        pyro.set_rng_seed(0)
        model = TSBN(splits.info, hidden_dim=3)
        super().__init__(model, RecurrentBernoulli(model))
        self.step, self.part, self.turns = step, part, 0
        self.mean = Running(0.9)

    def loss(self, batch: Batch) -> Loss:
        self.turns += 1
        total = sum(((p - batch.x.mean()) ** 2).sum() for p in self.parameters())
        assert isinstance(total, torch.Tensor)
        if self.turns == self.step:
            bias = self.model.x_bias.bias
            total = total + ((bias * 0).sum().sqrt() if self.part == "gradient" else torch.nan)
        self.mean.update(total)
        return Loss(total, {}, {"p(x)": total.detach()})
