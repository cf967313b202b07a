"""Models: Pyro programs p that are also modules, with declared traits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.engine.past import Past, ShiftedPast, seen_key
from pyrodgm.engine.programs import Draw, SequenceProgram, fused
from pyrodgm.engine.sites import Latents, Site, kinds, sizes
from pyrodgm.errors import UsageError
from pyrodgm.networks.conditions import refuse_unless
from pyrodgm.schema import Checked

Density = Literal["normalised", "unnormalised", "none"]


@dataclass(frozen=True)
class ModelTraits:
    """Properties of a model that guides and objectives depend on.

    Args:
        latents: the kind of its latent variables, several kinds, or "none".
        sequential: whether it runs over time; None for both.
        density: of its joint distribution: "normalised", "unnormalised", or "none" if it cannot be
            computed.
        conditions: whether it uses the conditions of frames.
        codebook: whether it has a `codebook` of vectors, one per class of its latents.
        recurrence: name of a recurrence that guides can share, the model's; None if there is none.
        by_frame: of an unnormalised density, whether every frame has a normaliser of its own, given
            the frames before it.
        chains: of an unnormalised density, whether Markov chains draw observations; see
            `EnergyModel.gibbs`.

    Raises:
        UsageError: latents of an unknown kind.
    """

    latents: Latents
    sequential: bool | None
    density: Density = "normalised"
    conditions: bool = False
    codebook: bool = False
    recurrence: str | None = None
    chains: bool = True
    by_frame: bool = False

    def __post_init__(self) -> None:
        kinds(self.latents)


@dataclass(frozen=True)
class Companions:
    """Names of the default guide, objective and dataset of a model.

    Args:
        guide: registered guide.
        objective: registered objective.
        data: registered dataset.
        fit: defaults for options of training with this objective, which take precedence over those
            of the model and of the objective.
    """

    guide: str
    objective: str
    data: str
    fit: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Form:
    """A model with options that decide what fits it.

    Args:
        name: of the class, and of these options where they are not the defaults.
        traits: of the model with them.
        companions: of the model with them; None if it declares none.
        options: that make it this form, by name; empty for the defaults.
        any_value: names of those options with which every value that is given makes this form; the
            one in `options` is an example.
    """

    name: str
    traits: ModelTraits
    companions: Companions | None
    options: Mapping[str, Any] = field(default_factory=dict)
    any_value: frozenset[str] = frozenset()

    def fits(self, options: Mapping[str, Any]) -> bool:
        """Whether a model with some options is of this form.

        >>> traits, size = ModelTraits("continuous", False), frozenset({"size"})
        >>> form = Form("Sized", traits, None, {"size": 2}, any_value=size)
        >>> form.fits({"size": 5}), form.fits({"size": None}), form.fits({})
        (True, False, False)
        """
        return all(
            options.get(name) is not None
            if name in self.any_value
            else name in options and options[name] == value
            for name, value in self.options.items()
        )

    @property
    def words(self) -> str:
        """The options as they are typed, such as ``latents=categorical``; empty for the defaults.

        >>> Form("VAE", ModelTraits("binary", False), None, {"latents": "bernoulli"}).words
        'latents=bernoulli'
        """
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class Model(Checked, nn.Module):
    """A generative model p(x, z): `forward(batch)` is a Pyro program.

    It samples the sites of `latents`, name to `Site`, and observes those of `observed`, name to
    dimension. Parameters are those of the module; under a Pyro handler they are registered with
    Pyro. `pyro.nn.PyroModule[...]` and `pyro.nn.module.to_pyro_module_` accept it, for priors on
    weights.

    `fit_defaults` are defaults for options of training; those of the objective take precedence.

    `traits` and `companions` are those of the default options. Where an option changes them,
    `forms` lists the others, and the constructor sets `self.traits`.

    Args:
        info: the data's facts, stored for guides.
    """

    traits: ModelTraits
    companions: ClassVar[Companions | None] = None
    forms: ClassVar[tuple[Form, ...]] = ()
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    latents: dict[str, Site]
    observed: dict[str, int]

    def __new__(cls, /, *given: Any, **options: Any) -> Self:
        """Refuse data in the place of its facts."""
        if given and isinstance(given[0], Splits):
            raise UsageError(
                f"{cls.__name__} is built from the facts of the data, not from its arrays: give "
                "splits.info"
            )
        return super().__new__(cls, *given, **options)

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.info = info

    @classmethod
    def form(cls, options: Mapping[str, Any] = MappingProxyType({})) -> Form:
        """Traits and companions of a model with some options; others are the defaults."""
        own = Form(cls.__name__, cls.traits, cls.companions)
        fitting = (form for form in cls.forms if form.fits(options))
        return next(fitting, own)

    @property
    def dims(self) -> dict[str, int]:
        """Name and dimension of every site, latents first."""
        return sizes(self.latents) | self.observed

    @property
    def frame_size(self) -> int:
        """Numbers per draw of a frame, which determine the size of evaluation batches."""
        return sum(self.dims.values())

    def begin(self, splits: Splits, seed: int) -> None:
        """Initialise parameters from data, once before the first step of training; by default not.

        Args:
            splits: the data.
            seed: of everything random.
        """
        del splits, seed

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample every latent site and observe the batch, each site of batch shape (B, T)."""


class StepModel(SequenceProgram, Model):
    """A model defined by one frame given the past; see `pyrodgm.engine.programs`.

    Attributes:
        prior_modules: names of the modules that hold the distribution of latents alone, for
            objectives that train it separately; None if the model does not say.
    """

    prior_modules: ClassVar[tuple[str, ...] | None] = None

    def encode(self, batch: Batch) -> Tensor | None:
        """Encoded conditions of every frame, (B, T, E); None if there are none.

        Raises:
            DataError: the batch has conditions, but the model takes none.
        """
        refuse_unless(0, batch.conditions)

    @abstractmethod
    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw the latents and then the observations of one frame."""

    def forward(self, batch: Batch) -> None:
        """The fused program."""
        fused(self)(batch)


class StateSpaceModel(StepModel):
    """A model of frames with a hidden state that is summed or integrated out exactly.

    Missing values can then be predicted exactly given all frames.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=True)
    history = 1

    @abstractmethod
    def smoothed(self, batch: Batch) -> TorchDistribution:
        r"""The distribution of every frame given all observations, of batch shape (B, T).

        .. math:: p(x_{t,\text{missing}} \mid x_\text{seen})

        Only its missing features may be used.
        """

    def before(self, batch: Batch) -> tuple[Past, Tensor]:
        """The arguments of a step for all frames at once: their past and their numbers."""
        past = ShiftedPast({"x": batch.x, seen_key("x"): batch.observed}, self.history)
        return past, torch.arange(batch.length, device=batch.x.device)
