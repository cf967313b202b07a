"""A phase of an objective with its optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pyrodgm.objectives import Objective, Phase
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.train.optimisers import make_optimizer


@dataclass
class Stepping:
    """A phase while it is trained.

    Args:
        number: index among the phases of the objective.
        phase: the phase.
        options: of its optimiser.
        optimizer: the optimiser, as wrapped by fabric.
        parameters: that the phase updates.
        others: parameters of the objective that the phase does not update.
    """

    number: int
    phase: Phase
    options: OptimizerOptions
    optimizer: Any
    parameters: tuple[nn.Parameter, ...]
    others: tuple[nn.Parameter, ...]

    @classmethod
    def all_of(cls, objective: Objective, options: OptimizerOptions) -> list[Stepping]:
        """Every phase of an objective; `options` are for phases without their own."""
        found = []
        for number, phase in enumerate(objective.built_phases):
            others = phase.others(objective)
            chosen = phase.options(options)
            own = phase.named_parameters()
            optimizer = make_optimizer(own, chosen)
            found.append(cls(number, phase, chosen, optimizer, tuple(own.values()), others))
        return found

    def is_due(self, step: int) -> bool:
        """Whether the phase has turns in a step, counted from one."""
        phase = self.phase
        ended = phase.end is not None and step > phase.end
        return step > phase.start and not ended and step % phase.every == 0
