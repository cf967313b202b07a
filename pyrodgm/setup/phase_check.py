"""The phases of an objective on a few frames, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.display import in_words
from pyrodgm.engine.frozen import frozen
from pyrodgm.errors import CompatibilityError, did_you_mean
from pyrodgm.objectives import Loss, Objective, OptimizerOptions, Phase, Validation


def check_phases(objective: Objective, batch: Batch) -> set[str]:
    """Compute the loss of every phase and its gradient, without an optimiser step.

    As in training, only the parameters of the phase carry gradients.

    Args:
        objective: after `begin`; its state changes.
        batch: a few frames.

    Returns:
        Names of the reported numbers.

    Raises:
        CompatibilityError: it has no phases, or a loss or a report is not what training needs.
    """
    reported: set[str] = set()
    for number, phase in enumerate(_phases(objective)):
        with frozen(phase.others(objective)):
            loss = objective(batch, number)
            _check_loss(objective, phase, loss)
            loss.surrogate.backward()
        reported |= loss.report.keys()
    return reported


def check_validation(objective: Objective, given: object) -> None:
    """Raise unless validation gives a `Validation` of plain numbers, which can be stored."""
    method = f"{type(objective).__name__}.validate(sequences, seed=...)"
    if not isinstance(given, Validation):
        raise CompatibilityError(
            f"{method} gives {in_words(given)}; expected a Validation of pyrodgm.objectives"
        )
    for name, value in {**given.numbers, "score": given.score or 0.0}.items():
        if not isinstance(value, int | float):
            raise CompatibilityError(
                f"{method} gives {in_words(value)} as '{name}'; expected a number, such as "
                "float(value)"
            )


def check_headline(objective: Objective, numbers: Iterable[str]) -> None:
    """Raise unless the number of the learning curve is among those that the objective gives."""
    known = set(numbers)
    if objective.headline not in {*known, Objective.headline}:
        named = did_you_mean(objective.headline, known) if known else "it gives none"
        raise CompatibilityError(
            f"the headline of {type(objective).__name__}, '{objective.headline}', is none of the "
            f"numbers that its losses report or that validate gives; {named}"
        )


def _phases(objective: Objective) -> tuple[Phase, ...]:
    name = type(objective).__name__
    given: Any = objective.built_phases
    phases = tuple(given) if isinstance(given, list | tuple) else ()
    if not phases or not all(isinstance(phase, Phase) for phase in phases):
        raise CompatibilityError(
            f"{name}.phases() gives {in_words(given)}; expected a tuple of at least one Phase"
        )
    names = [phase.name for phase in phases]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise CompatibilityError(f"{name} has several phases of the name '{twice[0]}'; rename one")
    for phase in phases:
        _check_optimizer(phase)
    return phases


def _check_optimizer(phase: Phase) -> None:
    if not isinstance(phase.optimizer, OptimizerOptions | None):
        raise CompatibilityError(
            f"phase '{phase.name}' has {in_words(phase.optimizer)} as its optimizer; expected "
            "OptimizerOptions(lr=...) of pyrodgm.objectives, or None for that of fit"
        )


def _check_loss(objective: Objective, phase: Phase, loss: object) -> None:
    whose = f"the loss of phase '{phase.name}' of {type(objective).__name__}"
    if not isinstance(loss, Loss):
        raise CompatibilityError(
            f"{whose} is {in_words(loss)}; expected Loss(surrogate, report) of pyrodgm.objectives"
        )
    surrogate = loss.surrogate
    if not isinstance(surrogate, Tensor):
        raise CompatibilityError(
            f"{whose} is {in_words(surrogate)}; expected a tensor of one number"
        )
    if surrogate.dim() or not surrogate.requires_grad:
        has = "has" if surrogate.requires_grad else "has no"
        raise CompatibilityError(
            f"{whose} is of shape {tuple(surrogate.shape)} and {has} gradient; it must be one "
            "number that depends on the parameters of the phase"
        )
    _check_report(whose, loss.report)


def _check_report(whose: str, report: Mapping[str, Any]) -> None:
    for name, value in report.items():
        if not isinstance(value, int | float) and not (
            isinstance(value, Tensor) and not value.dim()
        ):
            raise CompatibilityError(
                f"{whose} reports '{name}' as {in_words(value)}; expected one number"
            )
        if isinstance(value, Tensor) and value.requires_grad:
            raise CompatibilityError(
                f"{whose} reports '{name}' with gradients, which would keep its computation in "
                "memory; give value.detach()"
            )
