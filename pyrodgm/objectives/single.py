"""Objectives with one phase that are a function of log-probabilities of draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.programs import unrolled
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.stepwise import stepwise_terms
from pyrodgm.engine.terms import Terms, terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Objective
from pyrodgm.objectives.kl import KLTerm
from pyrodgm.objectives.schedule import NonNegative

Execution = Literal["fused", "unrolled"]


class SinglePhase(Objective):
    """An objective that is one function of the log-probabilities of K draws.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
        execution: "fused" over time, or "unrolled" frame by frame with ordinary Pyro sites.
        kl_weight: weight of the KL term in what is learnt, a number or a schedule; see
            `pyrodgm.objectives.kl.KLTerm`.
        free_bits: nats of KL per site and frame that cost nothing, a number or a schedule.

    An objective takes the last two if it learns from `cost` and `direct` of its terms, and not from
    importance weights; its constructor passes them on as ``**kl: Unpack[KLOptions]``.

    Raises:
        UsageError: no draws, or another execution.

    `unbiased` holds the defaults of `ObjectiveELBO`: options with which the gradient is an unbiased
    gradient of the bound, and with which any Pyro program can be drawn from.
    `one_weight` says whether it weighs draws of a datum as a whole, which has one meaning only if
    all latents of a plain program are in the same plates.
    """

    unbiased: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    one_weight: ClassVar[bool] = False

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        particles: int,
        execution: Execution,
        kl_weight: NonNegative = 1.0,
        free_bits: NonNegative = 0.0,
    ) -> None:
        super().__init__(model, guide)
        if particles < 1 or execution not in get_args(Execution):
            raise UsageError(
                f"particles is {particles} and execution {execution!r}; give at least 1, and "
                f"{' or '.join(get_args(Execution))}"
            )
        self.particles = particles
        self.execution: Execution = execution
        self.kl_term = KLTerm(kl_weight, free_bits)
        self.kl_term.refuse_sites_of(guide)

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
        """The loss on a batch: trace, weigh the KL term, then estimate."""
        loss = self.estimate(self.kl_term(self.trace(batch)))
        return loss._replace(report=loss.report | self.kl_term.report)


def frame_programs(objective: Objective, instead: str) -> tuple[SequenceProgram, SequenceProgram]:
    """Model and guide, where both run frame by frame.

    Args:
        objective: the objective.
        instead: what can be used where they do not, for the message.

    Raises:
        CompatibilityError: one of them does not.
    """
    model, guide = objective.model, objective.guide
    if isinstance(model, SequenceProgram) and isinstance(guide, SequenceProgram):
        return model, guide
    raise CompatibilityError(
        f"{type(model).__name__} with {type(guide).__name__} does not run frame by frame, but "
        f"{type(objective).__name__} compares draws of a frame; use {instead}"
    )


def unrolled_pair(objective: Objective) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide with a site per frame, without registration of their weights."""
    model, guide = extended(objective.model, objective.guide), objective.guide
    return unrolled_form(model, register=False), unrolled_form(guide, register=False)


def unrolled_form(program: Callable[..., Any], *, register: bool = True) -> Callable[..., Any]:
    """The program with a site per frame; unchanged for a program without frames."""
    if isinstance(program, SequenceProgram):
        return unrolled(program, register=register)
    return program


def sequence_mean(terms: Tensor) -> Tensor:
    """Mean over draws and sequences of the sum over frames; terms (K, B, T), a scalar."""
    return terms.sum(-1).mean()


def as_networks_see(model: nn.Module, x: Tensor) -> Tensor:
    """Observations transformed as for the networks of a model, (..., D).

    The transform is the model's module `inputs`, such as `pyrodgm.networks.inputs.Inputs`: counts
    on a log scale, real numbers standardised. Without such a module, observations are unchanged. On
    other scales a learned baseline would saturate.
    """
    inputs = getattr(model, "inputs", None)
    return x if inputs is None else inputs(x)


def size_networks_see(model: Model) -> int:
    """Size of a frame after this transform."""
    return getattr(getattr(model, "inputs", None), "dim", sum(model.observed.values()))
