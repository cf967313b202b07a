"""What an objective is: the thing that is optimised, as phases that the training loop steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.schema import Checked


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
