"""Recognition networks of independent rows: factorised, and layer by layer."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, cast, final

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.conditional import Conditional, OfNumbers, family_of, normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import LEAK, Leak
from pyrodgm.networks.pictures import Network, PictureEncoder, conv_channels, dense_layers

# Initial standard deviation of normal latents. With that of the prior, 1, draws say nothing of the
# row, and the KL term holds the guide there until the decoder has learnt to use them.
SPREAD = 0.3


class RowRecognition(StepGuide):
    """A guide of the latents of rows, from networks of the row and its conditions.

    Subclasses set `posteriors`, a conditional distribution for every latent site.

    Args:
        model: the model p.
        network: "dense"; or, for rows that are pictures, "conv", with convolutions, shared by all
            sites, before the networks of the subclass, or their channels.

    Raises:
        DataError: rows are not pictures for "conv".
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, causal=True
    )
    posteriors: nn.ModuleDict

    def __init__(
        self,
        model: Target,
        *,
        network: Network = "dense",
    ) -> None:
        super().__init__(model)
        self.history = 0
        self.inputs = Inputs(model.info)
        self.conditions = Conditions(model.info)
        convolved = conv_channels(network)
        self.pictures = PictureEncoder(model.info, convolved) if convolved else None

    @property
    def features_dim(self) -> int:
        """Size of `encode`, D + U, or the number of features of the convolutions, and U."""
        seen = self.inputs if self.pictures is None else self.pictures
        return seen.dim + self.conditions.dim

    def encode(self, batch: Batch) -> Tensor:
        """Inputs of the networks from rows and their conditions, (B, T, `features_dim`)."""
        seen, given = self.inputs(batch.x), self.conditions(batch)
        seen = seen if self.pictures is None else self.pictures(seen)
        return seen if given is None else torch.cat([seen, given], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row, independent of each other given the row."""
        del past, t
        for name, posterior in self.posteriors.items():
            draw(name, posterior(encoded))


class Factorised(RowRecognition):
    r"""Independent latents of any kind, with parameters from networks of the row.

    .. math:: q(z \mid x) = \prod_l \prod_j q(z^l_j \mid x, u)

    for every latent site l, where u are conditions, if any. Continuous latents are normal; bits
    have log-odds, and classes have logits, from the network of their site.

    Args:
        model: the model p; its categorical sites are one-hot and say their classes.
        hidden_dim: rectified units of every hidden layer; a number is a single layer. By default
            two layers of 200, and with convolutions one.
        leak: slope of these units below zero.
        network: "dense"; or, for rows that are pictures, "conv", with convolutions before the
            hidden layers, or their channels, the first next to the picture. "conv" is (32, 64).

    Raises:
        CompatibilityError: a categorical site that does not say its classes.
        DataError: rows are not pictures for "conv".

    Reference: Kingma and Welling, Auto-encoding variational Bayes, 2014.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents=("binary", "categorical", "continuous"),
        sequential=False,
        reparameterised=True,
        causal=True,
    )
    chained = True

    def __init__(
        self,
        model: Target,
        *,
        hidden_dim: LayerSizes | None = None,
        leak: Leak = LEAK,
        network: Network = "dense",
    ) -> None:
        super().__init__(model, network=network)
        hidden_dim = dense_layers(network, hidden_dim)
        self.posteriors = nn.ModuleDict()
        self.cells: dict[str, OfNumbers] = {}
        for name, site in self.latents.items():
            family = family_of(site, spread=SPREAD)
            self.posteriors[name] = Conditional(
                self.features_dim,
                family,
                hidden_dim,
                start=family.start(),
                shrink=1.0,
                leak=leak,
            )
            self.cells[name] = OfNumbers(family)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row, independent of each other given the row."""
        del t
        assert encoded is not None
        for name, posterior in self.posteriors.items():
            numbers = cast("Conditional", posterior).numbers(encoded)
            past.chain(draw, name, numbers, self.cells[name])


@final
class DiagonalNormal(Factorised):
    r"""Independent normal latents, with parameters from networks of the row.

    .. math:: q(z^l \mid x) = \mathcal N(\mu^l(x, u), \mathrm{diag}\, \sigma^l(x, u)^2)

    for every latent site l, where u are conditions, if any.

    Args:
        model: the model p, whose latent sites are continuous.
        hidden_dim, leak, network: as in `Factorised`.

    Reference: Kingma and Welling, Auto-encoding variational Bayes, 2014.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, causal=True
    )


@final
class LayeredNormal(RowRecognition):
    r"""Layers of normal latents, from the observation upward, each given the layer below it.

    .. math:: q(z^l \mid z^{l-1}) =
        \mathcal N\big(\mu^l(z^{l-1}, u), \mathrm{diag}\, \sigma^l(z^{l-1}, u)^2\big),
        \qquad z^0 = x

    where u are conditions, if any. The exact posterior of a chain of layers has the same
    conditional independence.

    Args:
        model: the model p; its continuous sites, the lowest first, are the layers.
        hidden_dim: rectified units of every hidden layer of every network; a number is a single
            layer.
        leak: slope of these units below zero.

    Reference: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, equation 1
    and section 5.
    """

    def __init__(
        self, model: Target, *, hidden_dim: LayerSizes = (200, 200), leak: Leak = LEAK
    ) -> None:
        super().__init__(model)
        given, dims = self.conditions.dim, sizes(self.latents)
        shape = {"shrink": 1.0, "spread": SPREAD, "leak": leak}
        self.posteriors = nn.ModuleDict(
            {
                name: normal_conditional(below + given, own, hidden_dim, **shape)
                for name, (below, own) in zip(
                    dims, pairwise([self.inputs.dim, *dims.values()]), strict=True
                )
            }
        )

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row, layer after layer."""
        del past, t
        assert encoded is not None
        below, given = encoded.split([self.inputs.dim, self.conditions.dim], -1)
        for name, posterior in self.posteriors.items():
            below = draw(name, posterior(join(below, given)))
