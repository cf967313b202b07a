"""What a model is: a Pyro program p that is also a module, and the traits others rely on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.engine.past import Past, ShiftedPast, seen_key
from pyrodgm.engine.programs import Draw, SequenceProgram, fused
from pyrodgm.engine.sites import Latents, Site, sizes
from pyrodgm.networks.conditions import refuse_unless
from pyrodgm.schema import Checked

Density = Literal["normalised", "unnormalised", "none"]


@dataclass(frozen=True)
class ModelTraits:
    """What a guide or an objective may ask of a model.

    Args:
        latents: the kind of its latent variables, several kinds, or "none".
        sequential: whether it runs over time; None where it does not matter.
        density: of its joint distribution: "normalised", "unnormalised", or "none" where it cannot
            be computed.
        conditions: whether it takes the conditions that frames come with.
    """

    latents: Latents
    sequential: bool | None
    density: Density = "normalised"
    conditions: bool = False


@dataclass(frozen=True)
class Companions:
    """Names of the guide, objective and dataset that a model is fitted with unless told otherwise.

    Args:
        guide: registered guide.
        objective: registered objective.
        data: registered dataset.
    """

    guide: str
    objective: str
    data: str


class Model(Checked, nn.Module):
    """A generative model p(x, z): `forward(batch)` is a Pyro program.

    It samples the sites of `latents`, name to `Site`, and observes those of `observed`, name to
    dimension. Parameters live in the module; one that runs under a handler states them to Pyro.
    `pyro.nn.PyroModule[...]` and `pyro.nn.module.to_pyro_module_` take it, for priors on weights.

    `fit_defaults` are options of training that are taken where a person gives none, and the
    objective has none of its own.

    Args:
        info: the data's facts, kept for guides to read.
    """

    traits: ClassVar[ModelTraits]
    companions: ClassVar[Companions | None] = None
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    latents: dict[str, Site]
    observed: dict[str, int]

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.info = info

    @property
    def dims(self) -> dict[str, int]:
        """Name and dimension of every site, latents first."""
        return sizes(self.latents) | self.observed

    @property
    def frame_size(self) -> int:
        """Numbers that one draw of a frame takes: what evaluation is portioned by."""
        return sum(self.dims.values())

    def begin(self, splits: Splits, seed: int) -> None:
        """Set starting values from data, once, before the first step of training; none here.

        Args:
            splits: the data.
            seed: of everything random.
        """
        del splits, seed

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample every latent site and observe the batch, each site of batch shape (B, T)."""


class StepModel(SequenceProgram, Model):
    """A model given by what happens in one frame; see `pyrodgm.engine.programs`."""

    def encode(self, batch: Batch) -> Tensor | None:
        """What the conditions of every frame tell a step, (B, T, E); None where there are none.

        Raises:
            DataError: the batch has conditions, and the model takes none.
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

    What is summed out of every frame given those before it can be summed out given all of them.
    """

    traits: ClassVar[ModelTraits] = ModelTraits(latents="none", sequential=True)
    history = 1

    @abstractmethod
    def smoothed(self, batch: Batch) -> TorchDistribution:
        r"""The law of every frame given all that was seen, of batch shape (B, T).

        .. math:: p(x_{t,\text{missing}} \mid x_\text{seen})

        Only what is missing may be taken from it.
        """

    def before(self, batch: Batch) -> tuple[Past, Tensor]:
        """What a step is given, of all frames at once: their past and their numbers."""
        past = ShiftedPast({"x": batch.x, seen_key("x"): batch.observed}, self.history)
        return past, torch.arange(batch.length, device=batch.x.device)
