"""What a model or a guide gives on a few frames, before anything is trained."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.display import in_words
from pyrodgm.engine.sites import sizes
from pyrodgm.errors import CompatibilityError, PyrodgmError
from pyrodgm.guides import Guide, StepGuide
from pyrodgm.guides.implicit import ImplicitGuide
from pyrodgm.models import EnergyModel, FrameEnergyModel, Generator, Model, StepModel
from pyrodgm.setup.step_check import WITHOUT_GRADIENTS, check_steps, refuse_reading
from pyrodgm.setup.userfile import place


def check_program(program: Model | Guide, batch: Batch, data: str) -> None:
    """Raise unless what a program defines has the shapes and values that its base class expects.

    Args:
        program: a model or a guide; one that is of no base with a single method is not run.
        batch: a few frames, B sequences of T frames.
        data: name of the data, for messages.

    Raises:
        CompatibilityError: it does not run, or gives something else than it declares.
        DataError: it cannot score the data.
    """
    with errors_in_words(program, data=data):
        if isinstance(program, StepModel | StepGuide):
            check_steps(program, batch, data)
        elif isinstance(program, EnergyModel):
            with torch.no_grad():
                _check_potential(program, batch)
        elif isinstance(program, Generator | ImplicitGuide):
            _check_generated(program, batch)


def check_registered(owner: nn.Module) -> None:
    """Raise if modules with weights are in a plain list, tuple or dictionary of a part.

    Args:
        owner: a module that holds all others, such as an objective.

    Raises:
        CompatibilityError: names the class and the attribute.
    """
    known = {id(parameter) for parameter in owner.parameters()}
    for part in owner.modules():
        for name, value in vars(part).items():
            if any(id(parameter) not in known for parameter in _weights_in(value)):
                raise CompatibilityError(
                    f"{type(part).__name__} holds modules in the {type(value).__name__} "
                    f"self.{name}, where their weights are neither trained nor stored; take "
                    "torch.nn.ModuleList or torch.nn.ModuleDict"
                )


def _weights_in(value: object) -> Iterator[nn.Parameter]:
    """The weights of modules in a plain container."""
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, nn.Module):
                yield from each.parameters()


@contextmanager
def errors_in_words(
    *programs: Model | Guide, data: str, objective: nn.Module | None = None
) -> Iterator[None]:
    """Report an error inside programs, or an objective, with their names and the line."""
    try:
        yield
    except PyrodgmError:
        raise
    except Exception as error:  # a user's program may raise anything
        names = " with ".join(type(program).__name__ for program in programs)
        own = programs if objective is None else (*programs, objective)
        files = {inspect.getfile(type(part)) for part in own}
        where = place(error, files) or f"{type(error).__name__}: {error}"
        raise CompatibilityError(f"{names} does not run on '{data}': {where}") from error


def _check_potential(model: EnergyModel, batch: Batch) -> None:
    """Check the potential, and a sweep of draws where the model writes its own."""
    method = f"{type(model).__name__}.potential(x, batch)"
    of = "a number of nats for every frame of observations"
    for x, shape in ((batch.x, batch.mask.shape), (batch.x[None], (1, *batch.mask.shape))):
        found = model.potential(x, batch)
        _refuse_unless_tensor(method, found, shape, f"{of} {tuple(x.shape)}")
    if not isinstance(model, FrameEnergyModel):  # whose frames follow those before them
        refuse_reading(method, lambda given: model.potential(batch.x, given), batch)
        if not model.of_sequences:
            _refuse_coupled(method, model, batch)
    own = type(model).gibbs is not EnergyModel.gibbs
    if own and model.traits.chains and model.chain == "gibbs":
        _check_sweep(model, batch)


def _refuse_coupled(method: str, model: EnergyModel, batch: Batch) -> None:
    """Raise where the potential of a frame changes with another frame."""
    before, frames = model.potential(batch.x, batch), batch.x[batch.mask]
    for changed in (0, batch.length - 1):
        x = batch.x.clone()
        x[:, changed] = frames[torch.cdist(x[:, changed], frames).argmax(-1)]  # another one
        others = batch.mask & (torch.arange(batch.length, device=x.device) != changed)
        now = model.potential(x, batch)
        if not torch.allclose(before[others], now[others], rtol=1e-4, atol=1e-4):
            raise CompatibilityError(
                f"{method} of a frame depends on other frames, and each is taken for independent; "
                "give the potential of the whole sequence at its first frame and set of_sequences "
                "= True, or derive the model from FrameEnergyModel"
            )


def _check_sweep(model: EnergyModel, batch: Batch) -> None:
    """Check that a sweep draws observations, and leaves those that it is given as they are."""
    method = f"{type(model).__name__}.gibbs(x, batch)"
    given = batch.x.clone()
    drawn = model.gibbs(given, batch)
    _refuse_unless_tensor(method, drawn, batch.x.shape, "a draw of every number")
    if not given.equal(batch.x):
        raise CompatibilityError(
            f"{method} changes the observations that it is given; change a copy, x.clone()"
        )
    if model.info.kind == "binary" and not bool(((drawn == 0) | (drawn == 1)).all()):
        raise CompatibilityError(
            f"{method} gives values such as {_other_than_bits(drawn):.3g}, but the data has bits; "
            "draw them, as probabilities.bernoulli() does"
        )


def _other_than_bits(values: Tensor) -> float:
    return float(values[(values != 0) & (values != 1)][0])


def _check_generated(program: Generator | ImplicitGuide, batch: Batch) -> None:
    """Check the values that a program computes from noise, and that they depend on its weights."""
    method = f"{type(program).__name__}.generate(noise, batch)"
    found: Any = program.generate(program.noise(batch), batch)
    if isinstance(program, Generator):
        values, wanted = {"x": found}, program.observed
    else:
        wanted = sizes(program.latents)
        if not isinstance(found, Mapping) or found.keys() != wanted.keys():
            names = ", ".join(f"'{name}': ..." for name in wanted)
            raise CompatibilityError(
                f"{method} gives {in_words(found)}; give a dictionary from the name of every "
                f"latent site to its values, {{{names}}}"
            )
        values = dict(found)
    for name, dim in wanted.items():
        shape = (1, *batch.mask.shape, dim)
        what = f"{method}, site '{name}',"
        _refuse_unless_tensor(what, values[name], shape, "a draw of every frame")
    if isinstance(program, Generator):
        noise = program.noise(batch)
        refuse_reading(method, lambda given: program.generate(noise, given), batch)
    weights = any(parameter.requires_grad for parameter in program.parameters())
    if weights and not any(value.requires_grad for value in values.values()):
        raise CompatibilityError(f"{method} gives values {WITHOUT_GRADIENTS}")


def _refuse_unless_tensor(what: str, found: object, shape: tuple[int, ...], of: str) -> None:
    if not isinstance(found, Tensor) or found.shape != shape:
        raise CompatibilityError(f"{what} gives {in_words(found)}; expected {tuple(shape)}, {of}")
