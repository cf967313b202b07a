"""What a guide is: a Pyro program q over the latent sites of a model, and its traits."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol, Self

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw, SequenceProgram, fused
from pyrodgm.engine.sites import Latents, Site
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.schema import Checked


@dataclass(frozen=True)
class GuideTraits:
    """What a model or an objective may ask of a guide.

    Args:
        latents: the kind of latent variables it draws, several kinds, or "none".
        sequential: whether it runs over time; None where it does not matter.
        reparameterised: whether gradients flow through its draws of continuous latents.
        has_density: whether the log-probability of a draw can be computed.
        causal: whether it never looks at frames after the one it draws, so that what it draws for
            a sequence it also draws for every beginning of it.
        over: what it draws, "latents", or "observations" as the noise of random fields is.
        auxiliary: whether it also draws sites that its model does not have.
    """

    latents: Latents
    sequential: bool | None
    reparameterised: bool = False
    has_density: bool = True
    causal: bool = False
    over: Literal["latents", "observations"] = "latents"
    auxiliary: bool = False


class Target(Protocol):
    """What a guide reads of the model that it is made for.

    Args:
        info: the data's facts.
        latents: name, dimension and kind of every latent site.
        observed: name and dimension of every observed site.
        history: how many past frames a step of the model looks at, where it has steps.
    """

    info: DataInfo
    latents: dict[str, Site]
    observed: dict[str, int]
    history: int


class Guide(Checked, nn.Module):
    """An approximate posterior q(z | x): `forward(batch)` is a Pyro program over `latents`.

    A guide is made from its model, reads sites, sizes and the data's facts from it, and may call
    its modules, as a recurrence that both share. Its own parameters are those that are not the
    model's: `model` is a reference and no submodule, so that `parameters()`, `state_dict()` and
    optimisers of the guide do not hold the model.

    Args:
        model: the model p.

    Raises:
        UsageError: it is made from something else, or the class takes something else.
        CompatibilityError: the model lacks what a guide reads.
    """

    traits: ClassVar[GuideTraits]
    latents: dict[str, Site]

    def __new__(cls, /, *given: Any, **options: Any) -> Self:
        """A guide not yet made, of a class that takes a model."""
        _check_takes_model(cls, given)
        return super().__new__(cls, *given, **options)

    def __init__(self, model: Target) -> None:
        super().__init__()
        _check_readable(type(self), model)
        self._model = (model,)  # in a tuple, which registers no submodule
        scored = not self.traits.reparameterised
        self.latents = {name: replace(site, scored=scored) for name, site in model.latents.items()}

    @property
    def model(self) -> Any:
        """The model that it is made for, whose modules it may call."""
        return self._model[0]

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample every latent site, each of batch shape (B, T)."""


class StepGuide(SequenceProgram, Guide):
    """A guide given by `encode`, once over all of time, and `step`, frame by frame.

    `step` must be cheap: whatever does not depend on earlier draws belongs into `encode`. Where
    layers build on each other, `past.chain` draws one after the other; see `pyrodgm.engine.past`.
    """

    @property
    def observed(self) -> dict[str, int]:
        """A guide observes nothing."""
        return {}

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """Features of the whole batch, (B, T, E)."""

    @abstractmethod
    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw the latents of one frame from its features and the latents before it."""

    def forward(self, batch: Batch) -> None:
        """The fused program."""
        fused(self)(batch)


def _check_takes_model(guide: type[Guide], given: tuple[Any, ...]) -> None:
    """Refuse what guides were made from up to version 0.1, the data's facts."""
    _, *parameters = inspect.signature(guide.__init__).parameters
    if any(isinstance(each, DataInfo) for each in given) or parameters[:1] == ["info"]:
        raise UsageError(
            f"guide {guide.__name__} is made from the data's facts (info); guides take the model: "
            "__init__(self, model, *, ...), which calls super().__init__(model) and reads "
            "model.latents, model.history and model.info"
        )


def _check_readable(guide: type[Guide], model: Target) -> None:
    """Refuse what is no model, or one that does not say what a guide reads."""
    if not isinstance(model, nn.Module):
        given = model.__name__ if isinstance(model, type) else type(model).__name__
        raise UsageError(f"guide {guide.__name__} is made from {given}; give the model, an object")
    lacking = [name for name in ("info", "latents", "observed") if not hasattr(model, name)]
    if lacking:
        raise CompatibilityError(
            f"{type(model).__name__} does not set {', '.join(f'self.{name}' for name in lacking)}, "
            f"which guide {guide.__name__} reads; its constructor must: super().__init__(info) and "
            "latents, from site name to Site(dim, kind), and observed, from site name to dimension"
        )
    others = {name: site for name, site in model.latents.items() if not isinstance(site, Site)}
    if others:
        raise CompatibilityError(
            f"{type(model).__name__} gives its latents as {others}; give each a dimension and a "
            'kind, such as pyrodgm.models.Site(2, "continuous")'
        )
