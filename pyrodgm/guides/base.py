"""Guides: Pyro programs q over the latent sites of a model, with declared traits."""

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
from pyrodgm.engine.sites import Latents, Site, kinds
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.schema import Checked


@dataclass(frozen=True)
class GuideTraits:
    """Properties of a guide that models and objectives depend on.

    Args:
        latents: the kind of latent variables it draws, several kinds, or "none".
        sequential: whether it runs over time; None where it does not matter.
        reparameterised: whether gradients flow through its draws of continuous latents.
        has_density: whether the log-probability of a draw can be computed.
        causal: whether a draw never depends on later frames, so that draws for a sequence are also
            valid for every prefix of it.
        over: "latents", or "observations" for the noise distribution of random fields.
        auxiliary: kinds of the sites that it draws and its model does not have, or "none"; see
            `pyrodgm.engine.auxiliary`.
        codebook: whether its draws are the nearest codes of the model's codebook, without
            randomness.
        independent_bits: whether the bits of a site, if it draws any, are independent of each other
            given what is drawn before the site.
        recurrence: name of the recurrence that it shares with its model; None if it shares none.
        evaluates: whether it evaluates the density of its model, which must have one.

    Raises:
        UsageError: latents of an unknown kind.
    """

    latents: Latents
    sequential: bool | None
    reparameterised: bool = False
    has_density: bool = True
    causal: bool = False
    over: Literal["latents", "observations"] = "latents"
    auxiliary: Latents = "none"
    codebook: bool = False
    independent_bits: bool = True
    recurrence: str | None = None
    evaluates: bool = False

    def __post_init__(self) -> None:
        kinds(self.latents)


class Target(Protocol):
    """The attributes of a model that a guide uses.

    Args:
        info: the data's facts.
        latents: name, dimension and kind of every latent site.
        observed: name and dimension of every observed site.
        history: number of earlier frames that a step of the model uses, if it has steps.
    """

    info: DataInfo
    latents: dict[str, Site]
    observed: dict[str, int]
    history: int


class Guide(Checked, nn.Module):
    """An approximate posterior q(z | x): `forward(batch)` is a Pyro program over `latents`.

    A guide is constructed from its model. It takes sites, sizes and the data's facts from it, and
    may call its modules, such as a shared recurrence. `model` is a reference and not a submodule,
    so `parameters()` and `state_dict()` of the guide do not contain those of the model.

    Args:
        model: the model p.

    Raises:
        UsageError: the argument is not a model, or the class takes another argument.
        CompatibilityError: the model lacks an attribute that guides use.
    """

    traits: ClassVar[GuideTraits]
    latents: dict[str, Site]

    def __new__(cls, /, *given: Any, **options: Any) -> Self:
        """Check the arguments before the guide is made."""
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
        """The model of this guide, whose modules it may call."""
        return self._model[0]

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample every latent site, each of batch shape (B, T)."""


class StepGuide(SequenceProgram, Guide):
    """A guide defined by `encode`, once for all frames, and `step`, frame by frame.

    `step` should be cheap: compute everything that does not depend on earlier draws in `encode`.
    Layers that depend on each other are drawn by `past.chain`; see `pyrodgm.engine.past`.
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
    """Refuse the constructor of version 0.1, which took the data's facts."""
    _, *parameters = inspect.signature(guide.__init__).parameters
    if any(isinstance(each, DataInfo) for each in given) or parameters[:1] == ["info"]:
        raise UsageError(
            f"guide {guide.__name__} takes the data's facts (info); guides must take the model: "
            "__init__(self, model, *, ...), which calls super().__init__(model) and uses "
            "model.latents, model.history and model.info"
        )


def _check_readable(guide: type[Guide], model: Target) -> None:
    """Refuse an argument that is not a model, or that lacks an attribute used by guides."""
    if not isinstance(model, nn.Module):
        given = model.__name__ if isinstance(model, type) else type(model).__name__
        raise UsageError(f"guide {guide.__name__} was given {given}; give a model object")
    of_latents = guide.traits.sequential and kinds(guide.traits.latents)
    over_time = of_latents and getattr(model, "traits", None) is not None
    needed = ("info", "latents", "observed", *(("history",) if over_time else ()))
    lacking = [name for name in needed if not hasattr(model, name)]
    if lacking:
        raise CompatibilityError(
            f"{type(model).__name__} does not set {', '.join(f'self.{name}' for name in lacking)}, "
            f"which guide {guide.__name__} uses; its constructor must: super().__init__(info) and "
            "latents, from site name to Site(dim, kind), observed, from site name to dimension, "
            "and, over time, history, the number of earlier frames that a step uses"
        )
    others = {name: site for name, site in model.latents.items() if not isinstance(site, Site)}
    if others:
        raise CompatibilityError(
            f"{type(model).__name__} gives its latents as {others}; give each a dimension and a "
            'kind, such as pyrodgm.models.Site(2, "continuous")'
        )
