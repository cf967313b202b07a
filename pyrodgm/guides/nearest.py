"""Recognition networks of rows whose classes are the nearest codes of a codebook."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from pyrodgm.distributions import OneHotVector
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides.base import GuideTraits, Target
from pyrodgm.guides.rows import RowRecognition
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import relu_network
from pyrodgm.networks.pictures import Network, dense_layers

CERTAIN = 1e4  # nats by which other codes are less probable: exp(-CERTAIN) is zero in any precision


@final
class NearestCode(RowRecognition):
    r"""Classes of a row without randomness: the nearest codes to vectors from a network of the row.

    .. math:: q(z_j = k \mid x) = \big[\, k = \arg\min_i \lVert e_j(x, u) - c_i \rVert \,\big]

    for every categorical variable j, with the model's codebook c and conditions u, if any. Its
    log-probability is zero at these codes; at others it is -10,000 nats instead of minus
    infinity, so that sums stay finite. The evidence lower bound is therefore
    :math:`\log p(x \mid z) + \log p(z)`, without an entropy.

    Args:
        model: the model p, with one categorical site and a `codebook` (C, M).
        hidden_dim: rectified units of every hidden layer; a number is a single layer. By default
            two layers of 200, and with convolutions one.
        network: "dense"; or, for rows that are pictures, "conv", with convolutions before it.

    Raises:
        CompatibilityError: the model has no codebook.
        DataError: rows are not pictures for "conv".

    Reference: van den Oord, Vinyals and Kavukcuoglu, Neural discrete representation learning, 2017,
    equation 1.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="categorical", sequential=False, causal=True, codebook=True
    )

    def __init__(
        self,
        model: Target,
        *,
        hidden_dim: LayerSizes | None = None,
        network: Network = "dense",
    ) -> None:
        super().__init__(model, network=network)
        if not isinstance(codebook := getattr(model, "codebook", None), nn.Parameter):
            raise CompatibilityError(
                f"the guide 'nearest-code' needs a codebook, and {type(model).__name__} has none; "
                "use the model 'vae' with latents='codebook', or the guide 'factorised'"
            )
        ((self.site, site),) = self.latents.items()
        self.network = relu_network(
            self.features_dim, dense_layers(network, hidden_dim), site.variables * codebook.shape[1]
        )

    def vectors(self, encoded: Tensor) -> Tensor:
        """The vectors e of a row, (..., J, M), from its features."""
        return self.network(encoded).unflatten(-1, (-1, self.model.codebook.shape[1]))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The nearest codes of one row."""
        del past, t
        assert encoded is not None
        draw(self.site, nearest(self.vectors(encoded), self.model.codebook))


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor) -> OneHotVector:
    """The distribution that is certain of the nearest codes, event (J C,).

    Args:
        vectors: (..., J, M).
        codebook: (C, M).

    >>> codes = torch.tensor([[0.0], [1.0], [5.0]])
    >>> nearest(torch.tensor([[0.8], [9.0]]), codes).sample().tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    """
    # |e - c|^2 = |e|^2 - 2 (e c - |c|^2 / 2)
    closeness = vectors @ codebook.T - codebook.square().sum(-1) / 2
    classes = len(codebook)
    chosen = OneHotVector(closeness.flatten(-2), classes).hardest(closeness.flatten(-2))
    return OneHotVector(CERTAIN * chosen, classes)
