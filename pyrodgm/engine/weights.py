"""The weights of a program under Pyro: registered as it runs, or drawn from a prior."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from typing import Any

import pyro
from pyro.nn import PyroModule
from pyro.ops.provenance import detach_provenance
from pyro.params import param_with_module_name
from pyro.poutine.runtime import am_i_wrapped, get_plates
from torch import Tensor, nn

from pyrodgm.errors import CompatibilityError


class Weights:
    """The weights of a program in one run.

    Weights of a plain module are registered as by `pyro.module`, under the name of its class, so
    that `pyro.infer.SVI` trains them; a second module of the class gets a number. Weights of a
    `pyro.nn.PyroModule` may have priors (`pyro.nn.PyroSample`): they are drawn once, at the start
    of the run, and scoring uses the same values.

    Args:
        program: a sequence program; only modules have weights.
        register: whether to register them.

    Raises:
        CompatibilityError: a handler sets them, or they are random where this is not supported.
    """

    def __init__(self, program: Any, *, register: bool) -> None:
        self.program = program
        self.register = register
        self.drawn: dict[str, Tensor] = {}

    @contextmanager
    def stated(self) -> Iterator[None]:
        """The first run, in which random weights have one value."""
        if isinstance(self.program, PyroModule):
            with self.program._pyro_context:
                _touch(self.program)
                self.drawn = dict(self.program._pyro_context.cache)
                yield
            return
        if isinstance(self.program, nn.Module):
            _refuse_random_parts(self.program)
            if self.register and am_i_wrapped():
                _state(self.program)
        yield

    @contextmanager
    def again(self) -> Iterator[None]:
        """A further run with the random weights of the first."""
        if not self.drawn:
            yield
            return
        context = self.program._pyro_context
        with context:
            context.cache.update(self.drawn)
            yield


def _state(program: nn.Module) -> None:
    """Register every trainable parameter, under its name in Pyro."""
    store = pyro.get_param_store()
    for name, parameter in program.named_parameters():
        if not parameter.requires_grad:
            continue
        full = store.param_name(parameter) or _free_name(type(program).__name__, name)
        if detach_provenance(pyro.param(full, parameter)) is not parameter:
            raise CompatibilityError(
                f"a handler gives '{full}' another value (poutine.lift or poutine.substitute), but "
                f"{type(program).__name__} uses its own; give weights a prior by "
                "PyroSample, after pyro.nn.module.to_pyro_module_(module)"
            )


def _free_name(module: str, name: str) -> str:
    """A name that is free in the parameter store, which keeps the first value of a name."""
    labels = (module + (f".{n}" if n > 1 else "") for n in count(1))
    names = (param_with_module_name(label, name) for label in labels)
    return next(full for full in names if full not in pyro.get_param_store())


def _touch(program: PyroModule) -> None:
    """Read every attribute that Pyro manages, outside of the plates of the program."""
    if get_plates() and (names := random_weights(program)):
        raise CompatibilityError(
            f"weights of {type(program).__name__} are random ({', '.join(names)}), but a module "
            "has one value of them at a time; run it without a plate around it: without "
            "vectorize_particles, with parallel=False"
        )
    for module in list(program.modules()):
        if isinstance(module, PyroModule):
            managed = (module._parameters, module._pyro_params, module._modules)
            for name in [*chain(*managed), *module._pyro_samples]:
                getattr(module, name)


def _refuse_random_parts(program: nn.Module) -> None:
    if names := random_weights(program):
        raise CompatibilityError(
            f"weights of {type(program).__name__} are random ({', '.join(names)}), but it is not a "
            "PyroModule; convert all of it by pyro.nn.module.to_pyro_module_(module)"
        )


def random_weights(program: nn.Module) -> list[str]:
    """Names of the weights that have a prior (`pyro.nn.PyroSample`)."""
    return [
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in program.named_modules()
        if isinstance(module, PyroModule)
        for name in list(module.__dict__["_pyro_samples"])
    ]
