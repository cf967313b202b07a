"""A dry run: model, guide and objective on a few frames, before anything is trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.display import between
from pyrodgm.engine.particles import Particles, symbols_of
from pyrodgm.engine.sites import Site
from pyrodgm.errors import (
    CompatibilityError,
    DataError,
    NonFiniteError,
    PyrodgmError,
    UsageError,
)
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import MODELS, EnergyModel, Model, StepModel
from pyrodgm.objectives import Objective
from pyrodgm.seeds import forked
from pyrodgm.setup import compat
from pyrodgm.setup.chunking import check_chunks
from pyrodgm.setup.userfile import place

FRAMES = 3
SEQUENCES = 2


def check_runs(
    objective: Objective, splits: Splits, *, restarts: int = 1, chunk: int | None = None
) -> None:
    """Raise unless objective, model, guide and data fit, and a dry run on a few frames succeeds.

    Every phase of a copy of the objective computes its loss and gradient on the first frames of two
    sequences, and the copy is validated on two others.

    Args:
        objective: built from a model and a guide.
        splits: the data.
        restarts: number of trainings, of which the best is kept.
        chunk: frames of a chunk that sequences are trained in; None for whole sequences.

    Raises:
        UsageError: an argument has the wrong type, or several restarts cannot be compared because
            the objective has no validation score.
        CompatibilityError: the three do not fit together, or one does not behave as declared.
        DataError: the model cannot score the data.
    """
    model, guide = _pieces(objective, splits)
    compat.check(model, guide, type(objective))
    _check_data(model, splits.info)
    training = _beginnings(splits.training)
    batch = training.batch(np.arange(len(training)))
    batch = batch.to(next(objective.parameters(), batch.x).device)
    with forked(0, "trial"):
        with torch.no_grad():
            for program in (guide, model):
                if isinstance(program, StepModel | StepGuide):
                    _check_frame(program, batch, splits.info.name)
        with _errors_in_words(model, guide, data=splits.info.name):
            tried = copy.deepcopy(objective)
            tried.initialise()
            _check_phases(tried, training, batch)
            with suppress(NonFiniteError):  # training will report its cause
                valid = tried.eval().validate(_beginnings(splits.valid))
                if restarts > 1 and valid.score is None:
                    raise UsageError(
                        f"restarts is {restarts}, but the best training cannot be chosen: "
                        f"{type(objective).__name__}.validate gives no score"
                    )
        if chunk is not None:
            check_chunks(objective, splits, chunk)


def _beginnings(sequences: Sequences) -> Sequences:
    """The first frames of a few sequences."""
    return sequences.select(np.arange(min(SEQUENCES, len(sequences)))).first(FRAMES)


def _check_phases(objective: Objective, training: Sequences, batch: Batch) -> None:
    """Compute the loss of every phase and its gradient, without an optimiser step."""
    objective.begin(training)
    for number, phase in enumerate(objective.built_phases):
        loss = objective(batch, number).surrogate
        if loss.dim() or not loss.requires_grad:
            raise CompatibilityError(
                f"the loss of phase '{phase.name}' of {type(objective).__name__} is of shape "
                f"{tuple(loss.shape)} and {'has' if loss.requires_grad else 'has no'} gradient; "
                "it must be one number that depends on the parameters of the phase"
            )
        loss.backward()


def _pieces(objective: Objective, splits: Splits) -> tuple[Model, Guide]:
    """Model and guide, after a check of all types."""
    if not isinstance(objective, Objective):
        raise UsageError(
            f"the objective is {_shown(objective)}; give one made from a model and a guide, such "
            "as pyrodgm.objectives.RLOO(model, guide)"
        )
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


def _check_frame(program: StepModel | StepGuide, batch: Batch, data: str) -> None:
    """Run the first frame, and check that every site is drawn once with its size and kind."""
    name = type(program).__name__
    sites = program.dims
    drawn: list[str] = []

    def draw(site: str, distribution: TorchDistribution) -> Tensor:
        if site not in sites or site in drawn:
            what = "twice" if site in drawn else f"and declares {', '.join(sites) or 'no sites'}"
            raise CompatibilityError(f"{name} draws '{site}' in a frame, {what}")
        drawn.append(site)
        if distribution.event_shape != (sites[site],):
            raise CompatibilityError(
                f"{name} draws '{site}' with batch shape {tuple(distribution.batch_shape)} and "
                f"event shape {tuple(distribution.event_shape)}; the event must be a frame of "
                f"{sites[site]} numbers: see .to_event(1), and the size in the constructor"
            )
        if site in program.observed:
            _check_support(name, distribution, batch.x, data)
            return batch.x[:, 0]
        declared = program.latents[site]
        if declared.kind == "continuous" and not program.carries_gradients(site):
            _check_pathwise(name, site, distribution)
        value = distribution.expand((1, batch.size)).sample()
        if not _is_of_kind(declared, value):
            raise CompatibilityError(
                f"site '{site}' of {name} is {declared.words}, but it is drawn from "
                f"{type(distribution).__name__}, with values such as "
                f"{float(value.flatten()[0]):.3g}"
            )
        return value

    with _errors_in_words(program, data=data):
        _check_encoded(name, program.encode(batch), batch)
        Particles(program, batch, 1).step(draw, torch.tensor(0, device=batch.x.device))
    if missing := [site for site in sites if site not in drawn]:
        raise CompatibilityError(f"{name} declares {', '.join(missing)} but does not draw it")


def _check_support(name: str, distribution: TorchDistribution, x: Tensor, data: str) -> None:
    """Refuse values outside [0, 1] under distributions of bits, which would score them silently."""
    support = getattr(distribution.support, "base_constraint", distribution.support)
    if support not in (constraints.boolean, constraints.unit_interval):
        return
    fits = (x >= 0) & (x <= 1)
    if not bool(fits.all()):
        raise DataError(
            f"{name} scores 'x' by {type(distribution).__name__}, but '{data}' has values outside "
            f"its support, from {between(float(x.min()), float(x.max()))}; choose another emission"
        )


def _is_of_kind(site: Site, value: Tensor) -> bool:
    """Whether all values are of the kind declared for their site."""
    bits = bool(((value == 0) | (value == 1)).all())
    if site.kind == "binary":
        return bits
    if site.classes:
        return bits and bool((value.unflatten(-1, (-1, site.classes)).sum(-1) == 1).all())
    return site.kind == "continuous" or bool(((value >= 0) & (value == value.round())).all())


def _check_pathwise(name: str, site: str, distribution: TorchDistribution) -> None:
    """Refuse draws that carry gradients if the traits do not declare it."""
    if distribution.has_rsample:
        raise CompatibilityError(
            f"{name} draws '{site}' from {type(distribution).__name__}, whose draws carry "
            "gradients, but its traits do not declare it: set reparameterised=True; otherwise "
            "score-function gradients with much more variance would be used"
        )


def _check_encoded(name: str, encoded: Tensor | None, batch: Batch) -> None:
    if encoded is not None and (encoded.dim() < 3 or encoded.shape[:2] != batch.mask.shape):
        raise CompatibilityError(
            f"{name}.encode gives shape {tuple(encoded.shape)} for {batch.size} sequences of "
            f"{batch.length} frames; expected ({batch.size}, {batch.length}, any)"
        )


@contextmanager
def _errors_in_words(*programs: Model | Guide, data: str) -> Iterator[None]:
    """Report an error inside a program with the program's name, the line and the message."""
    try:
        yield
    except PyrodgmError:
        raise
    except Exception as error:  # a user's program may raise anything
        names = " with ".join(type(program).__name__ for program in programs)
        files = {inspect.getfile(type(program)) for program in programs}
        where = place(error, files) or f"{type(error).__name__}: {error}"
        raise CompatibilityError(f"{names} does not run on '{data}': {where}") from error
