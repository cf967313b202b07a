"""Objectives of one phase that are a function of log-probabilities of draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.programs import unrolled
from pyrodgm.engine.stepwise import stepwise_terms
from pyrodgm.engine.terms import Terms, terms
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide, StepGuide
from pyrodgm.models.base import Model, StepModel
from pyrodgm.objectives.base import Loss, Objective

Execution = Literal["fused", "unrolled"]


class SinglePhase(Objective):
    """An objective that is one function of the log-probabilities of K draws.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
        execution: "fused" over time, or "unrolled" frame by frame with ordinary Pyro sites.

    Raises:
        UsageError: no draws, or another execution.

    `unbiased` holds the options that `ObjectiveELBO` takes where none are given: those by which its
    gradient is that of the bound, without bias, and by which it draws as any Pyro program can.
    """

    unbiased: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, model: Model, guide: Guide, *, particles: int, execution: Execution) -> None:
        super().__init__(model, guide)
        if particles < 1 or execution not in get_args(Execution):
            raise UsageError(
                f"particles is {particles} and execution {execution!r}; give at least 1, and "
                f"{' or '.join(get_args(Execution))}"
            )
        self.particles = particles
        self.execution: Execution = execution

    @property
    def draws_itself(self) -> bool:
        """Whether it draws in a way that plain Pyro programs do not offer."""
        return type(self).trace is not SinglePhase.trace

    @abstractmethod
    def estimate(self, terms: Terms) -> Loss:
        """The surrogate and the report from log-probabilities (K, B, T)."""

    def trace(self, batch: Batch) -> Terms:
        """Log-probabilities of K draws from the guide, (K, B, T)."""
        if self.execution == "fused":
            return terms(self.model, self.guide, batch, self.particles)
        model, guide = unrolled_pair(self)
        return stepwise_terms(model, guide, batch, particles=self.particles)

    def loss(self, batch: Batch) -> Loss:
        """The loss on a batch: trace, then estimate."""
        return self.estimate(self.trace(batch))


def unrolled_pair(objective: Objective) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide with a site per frame, whose weights are trained by the phases alone."""
    model, guide = objective.model, objective.guide
    return unrolled_form(model, register=False), unrolled_form(guide, register=False)


def unrolled_form(program: Callable[..., Any], *, register: bool = True) -> Callable[..., Any]:
    """The program with a site per frame; one without frames stays as it is."""
    if isinstance(program, StepModel | StepGuide):
        return unrolled(program, register=register)
    return program


def sequence_mean(terms: Tensor) -> Tensor:
    """Mean over draws and sequences of the sum over frames; terms (K, B, T), a scalar."""
    return terms.sum(-1).mean()


def as_networks_see(model: nn.Module, x: Tensor) -> Tensor:
    """Observations as the networks of a model see them, (..., D); as they are if it has no say.

    A model says so by a module `inputs`, such as `pyrodgm.networks.emissions.Inputs`: counts on a
    log scale, real numbers standardised. A learned baseline saturates on anything else.
    """
    inputs = getattr(model, "inputs", None)
    return x if inputs is None else inputs(x)


def size_networks_see(model: Model) -> int:
    """How many numbers a frame is to them."""
    return getattr(getattr(model, "inputs", None), "dim", sum(model.observed.values()))
