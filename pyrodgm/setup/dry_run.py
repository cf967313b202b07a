"""A dry run: model, guide and objective on a few frames, before anything is trained."""

from __future__ import annotations

import copy
import warnings
from contextlib import suppress
from typing import Any

import numpy as np

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.engine.particles import symbols_of
from pyrodgm.errors import (
    CompatibilityError,
    DataError,
    NonFiniteError,
    UsageError,
)
from pyrodgm.guides import Guide
from pyrodgm.models import MODELS, EnergyModel, Model
from pyrodgm.objectives import Objective
from pyrodgm.seeds import forked
from pyrodgm.setup import compat
from pyrodgm.setup.chunking import check_chunks
from pyrodgm.setup.phase_check import check_headline, check_phases, check_validation
from pyrodgm.setup.program_check import check_program, check_registered, errors_in_words
from pyrodgm.storage.best import read_best

FRAMES = 3
SEQUENCES = 2


def check_runs(
    objective: Objective,
    splits: Splits,
    *,
    restarts: int = 1,
    chunk: int | None = None,
    start_from: str | None = None,
) -> None:
    """Raise unless objective, model, guide and data fit, and a dry run on a few frames succeeds.

    Every phase of a copy of the objective computes its loss and gradient on the first frames of two
    sequences, and the copy is validated on two others.

    Args:
        objective: built from a model and a guide.
        splits: the data.
        restarts: number of trainings, of which the best is kept.
        chunk: frames of a chunk that sequences are trained in; None for whole sequences.
        start_from: the run whose weights model and guide start from, if any.

    Raises:
        UsageError: an argument has the wrong type, or several restarts cannot be compared because
            the objective has no validation score.
        CompatibilityError: the three do not fit together, or one does not behave as declared.
        DataError: the model cannot score the data.
    """
    model, guide = _pieces(objective, splits)
    compat.check(model, guide, type(objective))
    _check_data(model, splits.info)
    if guide.model is not model:
        raise UsageError(
            f"guide {type(guide).__name__} was built from another {type(guide.model).__name__} "
            f"than the model of {type(objective).__name__}; build both with the same object"
        )
    check_registered(objective)
    training = _beginnings(splits.training)
    batch = training.batch(np.arange(len(training)))
    batch = batch.to(next(objective.parameters(), batch.x).device)
    with forked(0, "trial"):
        of_few = warnings.catch_warnings(action="ignore")  # training repeats those that matter
        with of_few, errors_in_words(model, guide, data=splits.info.name, objective=objective):
            tried = copy.deepcopy(objective)  # running averages of normalisation stay as they are
            for program in (tried.guide, tried.model):
                check_program(program, batch, splits.info.name)
            initialise(tried, start_from)
            tried.begin(training)
            reported = check_phases(tried, batch)
            with suppress(NonFiniteError):  # training will report its cause
                valid = tried.eval().validate(_beginnings(splits.valid), seed=0)
                check_validation(objective, valid)
                check_headline(objective, reported | valid.numbers.keys())
                if restarts > 1 and valid.score is None:
                    raise UsageError(
                        f"restarts is {restarts}, but the best training cannot be chosen: "
                        f"{type(objective).__name__}.validate gives no score"
                    )
        if chunk is not None:
            check_chunks(objective, splits, chunk)


def initialise(objective: Objective, start_from: str | None) -> None:
    """Set the weights before the first step, as far as they are those of other runs.

    Raises:
        RunFolderError: there is no such run.
        CheckpointError: its weights are of other classes or sizes.
    """
    objective.initialise()
    if start_from is not None:
        read_best(start_from, {"model": objective.model, "guide": objective.guide})


def check_objective(given: Any) -> None:
    """Raise if something is not an objective.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(given, Objective):
        raise UsageError(
            f"the objective is {_shown(given)}; give one made from a model and a guide, such "
            "as pyrodgm.objectives.RLOO(model, guide)"
        )


def _beginnings(sequences: Sequences) -> Sequences:
    """The first frames of a few sequences."""
    return sequences.select(np.arange(min(SEQUENCES, len(sequences)))).first(FRAMES)


def _pieces(objective: Objective, splits: Splits) -> tuple[Model, Guide]:
    """Model and guide, after a check of all types."""
    check_objective(objective)
    if not isinstance(splits, Splits):
        raise UsageError(
            f"the data is {_shown(splits)}; give splits, such as pyrodgm.data.load('file.npz')"
        )
    for role, given, base in (
        ("model", objective.model, Model),
        ("guide", objective.guide, Guide),
    ):
        if not isinstance(given, base):
            raise UsageError(
                f"the {role} of {type(objective).__name__} is {_shown(given)}; an objective takes "
                f"a model, then a guide, and a {role} derives from pyrodgm.{role}s.{role.title()}"
            )
    if not any(parameter.requires_grad for parameter in objective.parameters()):
        raise UsageError(
            f"{type(objective).__name__} has no parameters to learn, and neither have its model "
            "and its guide"
        )
    return objective.model, objective.guide


def _shown(given: object) -> str:
    return f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"


def _check_data(model: Model, info: DataInfo) -> None:
    """Refuse data of another size, or of a kind that the model's emission does not score."""
    if list(model.observed) != ["x"]:
        raise CompatibilityError(
            f"{type(model).__name__} observes {', '.join(model.observed) or 'nothing'}; it must "
            "observe one site 'x', a frame of the data"
        )
    if model.observed["x"] != info.dim:
        raise DataError(
            f"{type(model).__name__} observes {dict(model.observed)} (site to size), but frames of "
            f"'{info.name}' have {info.dim} features; build the model from splits.info"
        )
    if model.info.symbols != info.symbols:
        raise DataError(
            f"{type(model).__name__} was built for other symbols than those of '{info.name}'; "
            "build the model from splits.info"
        )
    scored = isinstance(model, EnergyModel) or symbols_of(model) is not None
    if info.kind == "categorical" and not scored:
        raise CompatibilityError(
            f"{type(model).__name__} has no emission for the symbols of '{info.name}'; make "
            "one by pyrodgm.networks.emissions.make_emission('auto', info) and keep it as "
            "self.emission"
        )
    if info.num_conditions and not model.traits.conditions:
        fitting = ", ".join(name for name, other in MODELS.items() if other.traits.conditions)
        raise CompatibilityError(
            f"frames of '{info.name}' have {info.num_conditions} conditions, but "
            f"{type(model).__name__} takes none; models that do: {fitting}. A model of your own "
            "uses batch.conditions in encode and declares ModelTraits(..., conditions=True)"
        )
    kinds = getattr(getattr(model, "emission", None), "kinds", (info.kind,))
    if info.kind not in kinds:
        raise DataError(
            f"{type(model).__name__} scores {' or '.join(kinds)} values, but '{info.name}' has "
            f"{info.kind} values; build the model from splits.info"
        )
