r"""Auxiliary sites of a guide, and the reverse model that puts them on the side of the model.

A guide that draws sites a which its model does not have gives a mixture,
:math:`q(z \mid x) = \int q(a, z \mid x)\, da`, whose density is not known. With a reverse model
:math:`r(a \mid x, z)` it is a guide of the extended model :math:`p(x, z)\, r(a \mid x, z)`, whose
log p(x) is the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Draw, Past
from pyrodgm.engine.programs import fused
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError

Program = TypeVar("Program")


class ReverseModel(nn.Module):
    r"""A conditional distribution :math:`r(a \mid x, z)` of the auxiliary sites of a guide.

    Attributes:
        latents: name, dimension and kind of every auxiliary site.
    """

    latents: dict[str, Site]

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor | None:
        """Features of the batch apart from its observations, (B, T, E); None if there are none."""

    @abstractmethod
    def step(
        self, draw: Draw, drawn: Mapping[str, Tensor], encoded: Tensor | None, t: Tensor
    ) -> None:
        """Draw the auxiliary sites of one frame, or of all frames at once.

        Args:
            draw: ``draw(name, distribution)`` returns the value of a site.
            drawn: values of the model's sites in the frame, latent and observed, (..., D).
            encoded: the frame's features, (..., E).
            t: frame number from zero, a scalar or (T,).
        """


class AuxiliaryProgram(SequenceProgram):
    """A guide with auxiliary sites: its latents are those of the model and of `reverse`."""

    reverse: ReverseModel


class Extended(SequenceProgram, nn.Module):
    r"""A model whose frames are followed by auxiliary variables: :math:`p(x, z)\, r(a \mid x, z)`.

    .. math:: E_{q(a, z \mid x)}[\log p(x, z) + \log r(a \mid x, z) - \log q(a, z \mid x)]
        = L - E_{q(z \mid x)}\, \mathrm{KL}(q(a \mid x, z), r(a \mid x, z)) \le L

    where L is the evidence lower bound of :math:`q(z \mid x)`, which the guide gives if a is
    integrated out. Every algorithm for a model and a guide with the same latents applies.

    Args:
        model: the model p, which runs frame by frame.
        reverse: the reverse model r.

    Reference: Ranganath, Tran and Blei, Hierarchical variational models, 2016, equation 6; Maaløe,
    Sønderby, Sønderby and Winther, Auxiliary deep generative models, 2016, equation 4.
    """

    def __init__(self, model: SequenceProgram, reverse: ReverseModel) -> None:
        super().__init__()
        self.model, self.reverse = model, reverse
        self.history, self.states = model.history, model.states
        self.latents = model.latents | reverse.latents
        self.observed = model.observed
        self.own_dim = 0  # features of the model, known once a batch is encoded

    def encode(self, batch: Batch) -> Tensor | None:
        """Features for the model, and then those for the reverse model, (B, T, E)."""
        own, rest = self.model.encode(batch), self.reverse.encode(batch)
        self.own_dim = 0 if own is None else own.shape[-1]
        return own if rest is None else rest if own is None else torch.cat([own, rest], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The frame of the model, and then its auxiliary variables."""
        own, rest = self._parts(encoded)
        drawn: dict[str, Tensor] = {}

        def kept(name: str, distribution: TorchDistribution) -> Tensor:
            drawn[name] = draw(name, distribution)
            return drawn[name]

        self.model.step(kept, past, own, t)
        self.reverse.step(draw, drawn, rest, t)

    def forward(self, batch: Batch) -> None:
        """The fused program."""
        fused(self)(batch)

    def _parts(self, encoded: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Features for the model and for the reverse model; None where there are none."""
        if encoded is None:
            return None, None
        own, rest = encoded[..., : self.own_dim], encoded[..., self.own_dim :]
        return (own if own.shape[-1] else None), (rest if rest.shape[-1] else None)


def extended(model: Program, guide: Any) -> Program | Extended:
    """The model of a guide's latents: with the reverse model of a guide that has auxiliary sites.

    Args:
        model: the model p.
        guide: the guide q.

    Raises:
        CompatibilityError: a guide with auxiliary sites for a model without frames.
    """
    if not isinstance(guide, AuxiliaryProgram):
        return model
    if not isinstance(model, SequenceProgram):
        raise CompatibilityError(
            f"{type(model).__name__} is not defined by steps, and {type(guide).__name__} draws "
            "auxiliary sites, whose reverse model reads the values of a step; derive the model "
            "from StepModel, or take the guide 'gaussian'"
        )
    return Extended(model, guide.reverse)
