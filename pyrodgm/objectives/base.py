"""What an objective is: the thing that is optimised, as phases that the training loop steps."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.bounds import has_bound
from pyrodgm.evaluate.likelihood.validation import Validation, validate
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.schema import Checked


@dataclass(frozen=True)
class Needs:
    """What an objective asks of a model and a guide; None means that it does not matter.

    Args:
        latents: kinds of latent variables it can learn.
        reparameterised: whether the guide's draws must carry gradients.
        has_density: whether the guide's log-probabilities are used.
        sequential: whether model and guide must run over time.
        density: kinds of density that the model may have.
        over: what the guide draws.
        auxiliary: whether the guide adds latents that the model does not have.
    """

    latents: frozenset[str] = frozenset({"binary", "categorical", "continuous"})
    reparameterised: bool | None = None
    has_density: bool | None = True
    sequential: bool | None = None
    density: frozenset[str] | None = frozenset({"normalised"})
    over: Literal["latents", "observations"] = "latents"
    auxiliary: bool | None = False


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
    """One optimiser's turn, or turns, in a step.

    Args:
        name: what it is called in reports.
        modules: the modules whose parameters it updates, and no others.
        loss: what it minimises, of a batch; gradients of gradients are allowed.
        optimizer: how it updates them; as `[fit]` says if not given.
        repeats: turns in a step.
        fresh: whether every turn has a batch of its own; otherwise all turns of the step share one.
        every: it has its turns in each n-th step only.
        after: what runs after each of its turns, such as clipping weights.

    Raises:
        UsageError: less than one turn, or no n-th step.
    """

    name: str
    modules: tuple[nn.Module, ...]
    loss: Callable[[Batch], Loss]
    optimizer: OptimizerOptions | None = None
    repeats: int = 1
    fresh: bool = False
    every: int = 1
    after: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.every < 1:
            raise UsageError(
                f"phase '{self.name}' has {self.repeats} turns in every {self.every}-th step; give "
                "at least 1 of each"
            )

    def parameters(self) -> Iterable[nn.Parameter]:
        """Its parameters, each once."""
        seen = {id(p): p for module in self.modules for p in module.parameters()}
        return seen.values()


class Objective(Checked, nn.Module, ABC):
    """A learning algorithm for one model and one guide.

    It owns whatever exists only for learning (baselines, critics, caches; see
    `pyrodgm.objectives.state`), so that it is the whole truth of a training. One that updates
    everything together writes `loss`; one with several optimisers writes `phases`.

    `headline` is the key of the reported number that the learning curve and the progress bar show.
    `fit_defaults` are options of training that it takes in the place of the usual ones, where a
    person gives none: those of an adversarial objective are far from those of a bound.
    """

    needs: ClassVar[Needs]
    headline: ClassVar[str] = "elbo_nats_per_frame"
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __init__(self, model: Model, guide: Guide) -> None:
        super().__init__()
        self.model = model
        self.guide = guide

    def loss(self, batch: Batch) -> Loss:  # noqa: ARG002 - what it takes where there is one
        """The loss of everything together, where there is one phase."""
        raise UsageError(f"{type(self).__name__} defines neither loss nor phases; it needs one")

    def phases(self) -> tuple[Phase, ...]:
        """What the training loop steps, in order; called once, see `built_phases`."""
        return (Phase("all", (self,), self.loss),)

    @cached_property
    def built_phases(self) -> tuple[Phase, ...]:
        """The phases, built when they are first needed; a copy of the objective has its own."""
        return self.phases()

    def begin(self, training: Sequences) -> None:
        """Make room for the training data, before the first step and on resume; none here.

        Caches and chains get their sizes here. Parameters and averages have theirs from the
        constructor, for a fitted run is read without its data.
        """

    def validate(self, sequences: Sequences, *, seed: int = 0) -> Validation:
        """What weights are chosen by, on held-out sequences; the highest score is kept.

        The log-likelihood, or a bound on it, where model and guide have densities; nothing
        otherwise, and then the last weights are kept.

        Args:
            sequences: a split.
            seed: of the draws; the global generator is left alone.

        Raises:
            NonFiniteError: the score is not finite.
        """
        if not has_bound(self.model, self.guide):
            return Validation()
        return validate(self.model, self.guide, sequences, seed=seed)

    def forward(self, batch: Batch, phase: int = 0) -> Loss:
        """The loss of one phase; the entry point that device wrappers hook."""
        return self.built_phases[phase].loss(batch)

    def __getstate__(self) -> dict[str, Any]:
        """The state of a copy, which builds its phases anew: those here update this objective."""
        return {key: value for key, value in vars(self).items() if key != "built_phases"}
