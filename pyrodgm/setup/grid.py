"""Which objective fits which model, why others do not, and what each objective optimises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyrodgm.guides import GUIDES
from pyrodgm.models import Form
from pyrodgm.objectives import OBJECTIVES, Objective, Targets
from pyrodgm.setup.compat import (
    Conflict,
    guide_conflicts,
    model_conflicts,
    pair_conflicts,
    registered,
)


@dataclass(frozen=True)
class Cell:
    """Whether an objective can train a model.

    Args:
        guides: names of the guides that fit both.
        reasons: why there are none, as (what a model or guide is like, what is needed).
    """

    guides: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...]


def grid() -> dict[tuple[str, str], Cell]:
    """The cell of every pair (name of an objective, key of a model as in `compat.registered`)."""
    return {
        (name, key): cell_of(model, objective)
        for name, objective in OBJECTIVES.items()
        for key, (_, model) in registered().items()
    }


def cell_of(model: Form, objective: type[Objective]) -> Cell:
    """The guides that fit a model and an objective, or the reasons why none does."""
    usable = {n: g for n, g in GUIDES.items() if not any(pair_conflicts(model, g))}
    refused = list(model_conflicts(model, objective))
    against = {n: list(guide_conflicts(model, g, objective)) for n, g in usable.items()}
    fitting = [name for name, found in against.items() if not found and not refused]
    if fitting:
        return Cell(tuple(fitting), ())
    if not usable:
        return Cell((), (("no registered guide", "a guide for its latents"),))
    found = refused or min(against.values(), key=len)
    return Cell((), tuple((_subject(c) + c[1], c[2]) for c in found))


def _subject(conflict: Conflict) -> str:
    """Who a conflict is about: "model " or "guide "."""
    return conflict[0].partition(" ")[0] + " "


def entries() -> Iterator[tuple[str, type[Objective], Targets]]:
    """What every registered objective optimises: name, class and targets; several of some."""
    for name, objective in OBJECTIVES.items():
        for targets in objective.targets:
            yield name, objective, targets
