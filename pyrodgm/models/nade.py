"""The neural autoregressive distribution estimator of independent rows of bits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.autoregressive_emissions import NADEBits
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import refuse_unless_fitting
from pyrodgm.networks.layers import plus, weights
from pyrodgm.seeds import numpy_generator

INIT_SCALE = 0.05  # of weights; a NADE learns nothing about dependence from weights near zero


@final
class NADE(StepModel):
    r"""The neural autoregressive distribution estimator: rows of bits, one bit after the other.

    .. math::
        p(x) = \prod_d p(x_{o_d} \mid x_{o_{<d}}), \qquad
        p(x_{o_d} = 1 \mid x_{o_{<d}}) = \sigma(b_{o_d} + V_{o_d} \cdot h_d), \qquad
        h_d = \sigma\big(c + \textstyle\sum_{i<d} W_{o_i} x_{o_i}\big)

    in an order o of the features. Conditions u, if any, are added to the biases b and c by a linear
    map. The log-likelihood is exact.

    Missing features of a row are imputed by weighted draws: each is drawn given the features before
    it in the order, observed or drawn, and a draw of the row has the weight of its observed
    features given those before them. This is exact for many draws, and for few of them where the
    missing features come last. Training data must be complete.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H.
        order_seed: seed of a random order of the features; their order in the data if not given.

    Shapes: site ``x`` (B, T, D), bits. Frames of a sequence count as independent rows.

    Raises:
        DataError: the data is not binary, or has missing values.

    Reference: Larochelle and Murray, The neural autoregressive distribution estimator, 2011,
    equations 8 to 11. The biases b start at the log-odds of the data's means.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=False, conditions=True)
    companions: ClassVar[Companions] = Companions("none", "ml", "mnist")
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 1e-2, "batch_size": 100})

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 500,
        order_seed: Annotated[int, Field(ge=0)] | None = None,
    ) -> None:
        super().__init__(info)
        refuse_unless_fitting("nade", info)
        self.history = 0
        self.latents = {}
        self.observed = {"x": info.dim}
        self.conditions = Conditions(info)
        order = None if order_seed is None else random_order(info.dim, order_seed)
        self.emission = NADEBits(info, hidden_dim, order)
        for weight in (self.emission.weight_in, self.emission.weight_out):
            nn.init.normal_(weight, std=INIT_SCALE)
        self.bias = nn.Parameter(self.emission.start(info))
        self.from_given = weights(self.conditions.dim, self.emission.size, 0.01)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One row."""
        del t
        numbers = plus(self.bias, self.from_given, encoded)
        draw("x", self.emission(numbers.expand(*past["x"].shape[:-1], -1)))


def random_order(dim: int, seed: int) -> Tensor:
    """The features of a row in a random order, (D,).

    >>> random_order(4, seed=0).sort().values.tolist()
    [0, 1, 2, 3]
    """
    return torch.from_numpy(numpy_generator(seed, "order of features").permutation(dim))
