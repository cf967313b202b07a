"""What an objective is: the thing that is optimised, as phases that the training loop steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.programs import unrolled
from pyrodgm.engine.stepwise import stepwise_log_probs
from pyrodgm.engine.terms import LogProbs, log_probs
from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide, SequenceGuide
from pyrodgm.models.base import Model, SequenceModel
from pyrodgm.schema import Checked

Execution = Literal["fused", "unrolled"]


@dataclass(frozen=True)
class Needs:
    """What an objective asks of a model and a guide; None means that it does not matter.

    Args:
        latents: kinds of latent variables it can learn.
        reparameterised: whether the guide's draws must carry gradients.
        has_density: whether the guide's log-probabilities are used.
        sequential: whether model and guide must run over time.
        normalised: whether the model must be normalised.
    """

    latents: frozenset[str] = frozenset({"binary", "categorical", "continuous"})
    reparameterised: bool | None = None
    has_density: bool | None = True
    sequential: bool | None = None
    normalised: bool | None = True


class Loss(NamedTuple):
    """What one phase computed; a tuple, which device wrappers can look into.

    Args:
        surrogate: scalar whose gradient is the update direction; its value means nothing.
        report: detached numbers that do mean something, each with its unit in the key.
        sites: the terms by site, to name the culprit when a number is not finite.
    """

    surrogate: Tensor
    report: dict[str, Tensor]
    sites: Mapping[str, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn.

    Args:
        name: what it is called in reports.
        modules: the modules whose parameters it updates, and no others.
        loss: what it minimises.
        repeats: how often per batch.
        after: what runs after each of its steps, such as clipping weights.
    """

    name: str
    modules: tuple[nn.Module, ...]
    loss: Callable[[Batch], Loss]
    repeats: int = 1
    after: Callable[[], None] | None = None

    def parameters(self) -> Iterable[nn.Parameter]:
        """Its parameters, each once."""
        seen = {id(p): p for module in self.modules for p in module.parameters()}
        return seen.values()


class Objective(Checked, nn.Module, ABC):
    """A learning algorithm for one model and one guide.

    It owns whatever exists only for learning (baselines, critics, caches), so that its
    `state_dict`, with those of the model and the guide inside, is the whole truth.
    """

    needs: ClassVar[Needs]

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__()
        self.model = model
        self.guide = guide

    @property
    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """What the training loop steps, in order, for every batch."""

    def forward(self, batch: Batch, phase: int = 0) -> Loss:
        """The loss of one phase; the entry point that device wrappers hook."""
        return self.phases[phase].loss(batch)


class SinglePhase(Objective):
    """An objective that is one function of the log-probabilities of K draws.

    Args:
        model: the model p.
        guide: the guide q.
        particles: number of draws K.
        execution: "fused" over time, or "unrolled" frame by frame with ordinary Pyro sites.

    Raises:
        UsageError: no draws, or another execution.

    `unbiased` holds the options by which its gradient is that of the bound, without bias.
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

    @abstractmethod
    def estimate(self, log_probs: LogProbs) -> Loss:
        """The surrogate and the report from log-probabilities (K, B, T)."""

    def trace(self, batch: Batch) -> LogProbs:
        """Log-probabilities of K draws from the guide, (K, B, T)."""
        if self.execution == "fused":
            return log_probs(self.model, self.guide, batch, self.particles)
        model, guide = unrolled_pair(self)
        return stepwise_log_probs(model, guide, batch, particles=self.particles)

    def loss(self, batch: Batch) -> Loss:
        """The loss on a batch: trace, then estimate."""
        return self.estimate(self.trace(batch))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The only phase: everything is updated together."""
        return (Phase("all", (self,), self.loss),)


def unrolled_pair(objective: Objective) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Model and guide with a site per frame, whose weights are trained by the phases alone."""
    model, guide = objective.model, objective.guide
    return unrolled_form(model, register=False), unrolled_form(guide, register=False)


def unrolled_form(program: Callable[..., Any], *, register: bool = True) -> Callable[..., Any]:
    """The program with a site per frame; one without frames stays as it is."""
    if isinstance(program, SequenceModel | SequenceGuide):
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
