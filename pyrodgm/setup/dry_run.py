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
from pyrodgm.engine.sites import Kind
from pyrodgm.errors import (
    CompatibilityError,
    DataError,
    NonFiniteError,
    PyrodgmError,
    UsageError,
)
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.models import MODELS, Model, StepModel
from pyrodgm.objectives import Objective
from pyrodgm.seeds import forked
from pyrodgm.setup import compat
from pyrodgm.setup.userfile import place

FRAMES = 3
SEQUENCES = 2


def check_runs(objective: Objective, splits: Splits, *, restarts: int = 1) -> None:
    """Raise unless objective, model, guide and data fit, and a dry run on a few frames succeeds.

    Every phase of a copy of the objective computes its loss and gradient on the first frames of two
    sequences, and the copy is validated on two others.

    Args:
        objective: built from a model and a guide.
        splits: the data.
        restarts: trainings of which the best is to be kept.

    Raises:
        UsageError: one of them is something else, or nothing tells which of several trainings is
            the best.
        CompatibilityError: the three do not fit together, or one does not run as it says.
        DataError: the data is not what the model scores.
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
        with _told(model, guide, data=splits.info.name):
            tried = copy.deepcopy(objective)
            _check_phases(tried, training, batch)
            with suppress(NonFiniteError):  # which training will name the cause of
                valid = tried.eval().validate(_beginnings(splits.valid))
                if restarts > 1 and valid.score is None:
                    raise UsageError(
                        f"restarts is {restarts}, and nothing tells which training is the best: "
                        f"{type(objective).__name__}.validate gives no score"
                    )


def _beginnings(sequences: Sequences) -> Sequences:
    """The first frames of a few sequences."""
    return sequences.select(np.arange(min(SEQUENCES, len(sequences)))).first(FRAMES)


def _check_phases(objective: Objective, training: Sequences, batch: Batch) -> None:
    """Compute the loss of every phase and its gradient, as training will; nothing is stepped."""
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
    """Model and guide, if all are what they are taken for."""
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
            "observe one site 'x', which is a frame of the data"
        )
    if model.observed["x"] != info.dim:
        raise DataError(
            f"{type(model).__name__} observes {dict(model.observed)} (site to size) and frames of "
            f"'{info.name}' have {info.dim} features; build the model from splits.info"
        )
    if info.kind == "categorical" and symbols_of(model) is None:
        raise CompatibilityError(
            f"{type(model).__name__} has no emission that knows the symbols of '{info.name}'; make "
            "one by pyrodgm.networks.emissions.make_emission('auto', info) and keep it as "
            "self.emission"
        )
    if info.num_conditions and not model.traits.conditions:
        fitting = ", ".join(name for name, other in MODELS.items() if other.traits.conditions)
        raise CompatibilityError(
            f"frames of '{info.name}' come with {info.num_conditions} conditions, and "
            f"{type(model).__name__} takes none; models that do: {fitting}. A model of your own "
            "reads batch.conditions in encode and says so by ModelTraits(..., conditions=True)"
        )
    kinds = getattr(getattr(model, "emission", None), "kinds", (info.kind,))
    if info.kind not in kinds:
        raise DataError(
            f"{type(model).__name__} scores {' or '.join(kinds)} values and '{info.name}' has "
            f"{info.kind} ones; build the model from splits.info"
        )


def _check_frame(program: StepModel | StepGuide, batch: Batch, data: str) -> None:
    """Run the first frame: every site is drawn once, is of its size and of its kind."""
    name = type(program).__name__
    sites = program.dims
    drawn: list[str] = []

    def draw(site: str, law: TorchDistribution) -> Tensor:
        if site not in sites or site in drawn:
            what = "twice" if site in drawn else f"and declares {', '.join(sites) or 'no sites'}"
            raise CompatibilityError(f"{name} draws '{site}' in a frame, {what}")
        drawn.append(site)
        if law.event_shape != (sites[site],):
            raise CompatibilityError(
                f"{name} draws '{site}' with batch shape {tuple(law.batch_shape)} and event shape "
                f"{tuple(law.event_shape)}; the event is a frame of {sites[site]} numbers: "
                "see .to_event(1), and the size that the constructor declares"
            )
        if site in program.observed:
            _check_support(name, law, batch.x, data)
            return batch.x[:, 0]
        kind = program.latents[site].kind
        if kind == "continuous" and not program.carries_gradients(site):
            _check_pathwise(name, site, law)
        value = law.expand((1, batch.size)).sample()
        if not _is_of_kind(kind, value):
            raise CompatibilityError(
                f"site '{site}' of {name} is {kind}, and it is drawn from {type(law).__name__}, "
                f"with values such as {float(value.flatten()[0]):.3g}"
            )
        return value

    with _told(program, data=data):
        _check_encoded(name, program.encode(batch), batch)
        Particles(program, batch, 1).step(draw, torch.tensor(0, device=batch.x.device))
    if missing := [site for site in sites if site not in drawn]:
        raise CompatibilityError(f"{name} declares {', '.join(missing)} and does not draw it")


def _check_support(name: str, law: TorchDistribution, x: Tensor, data: str) -> None:
    """Refuse bits or grey values as a law of other numbers: it would score them all the same."""
    support = getattr(law.support, "base_constraint", law.support)
    if support not in (constraints.boolean, constraints.unit_interval):
        return
    fits = (x >= 0) & (x <= 1)
    if not bool(fits.all()):
        raise DataError(
            f"{name} scores 'x' by {type(law).__name__}, and '{data}' has values that it never "
            f"draws, from {between(float(x.min()), float(x.max()))}; give it another emission"
        )


def _is_of_kind(kind: Kind, value: Tensor) -> bool:
    """Whether all values are of the kind that their site says."""
    if kind == "binary":
        return bool(((value == 0) | (value == 1)).all())
    return kind == "continuous" or bool(((value >= 0) & (value == value.round())).all())


def _check_pathwise(name: str, site: str, law: TorchDistribution) -> None:
    """Refuse draws that carry gradients where the traits say that they do not."""
    if law.has_rsample:
        raise CompatibilityError(
            f"{name} draws '{site}' from {type(law).__name__}, whose draws carry gradients, and "
            "its traits do not say so: give reparameterised=True, or score gradients with far more "
            "variance are taken"
        )


def _check_encoded(name: str, encoded: Tensor | None, batch: Batch) -> None:
    if encoded is not None and (encoded.dim() < 3 or encoded.shape[:2] != batch.mask.shape):
        raise CompatibilityError(
            f"{name}.encode gives shape {tuple(encoded.shape)} for {batch.size} sequences of "
            f"{batch.length} frames; expected ({batch.size}, {batch.length}, any)"
        )


@contextmanager
def _told(*programs: Model | Guide, data: str) -> Iterator[None]:
    """What goes wrong inside, in words: whose program, in which line, and what was said there."""
    try:
        yield
    except PyrodgmError:
        raise
    except Exception as error:  # whatever a program of one's own may raise
        names = " with ".join(type(program).__name__ for program in programs)
        files = {inspect.getfile(type(program)) for program in programs}
        where = place(error, files) or f"{type(error).__name__}: {error}"
        raise CompatibilityError(f"{names} does not run on '{data}': {where}") from error
