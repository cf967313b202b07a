"""Deep latent Gaussian models: independent rows above several layers of normal latents."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.conditional import Conditional, normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.layers import LayerSizes, layer_sites
from pyrodgm.networks.mlp import LEAK, Leak

Size = Annotated[int, Field(ge=1)]
MOST_LATENTS = 20


def usual_latents(info: DataInfo) -> int:
    """Latents of a layer if nothing else is said: half of the features, and at most 20.

    >>> usual_latents(DataInfo("rows", "binary", 5, (0.5,) * 5, 1.0, 1))
    3
    """
    return min((info.dim + 1) // 2, MOST_LATENTS)


@final
class DLGM(StepModel):
    r"""A deep latent Gaussian model of independent rows.

    .. math::
        p(x, z) = \mathcal N(z^L; 0, I) \prod_{l<L}
            \mathcal N\big(z^l; \mu^l(z^{l+1}, u), \mathrm{diag}\, \sigma^l(z^{l+1}, u)^2\big)\;
            p(x \mid z^1, u)

    where u are conditions, if any. The published model has scales that do not depend on the layer
    above; here both mean and scale do.

    Args:
        info: the data's facts; its features are D.
        latent_dim: latents of every layer, the lowest first; by default two layers, the first with
            half the number of features and at most 20, the second with half of that.
        hidden_dim: rectified units of every hidden layer of every network; a number is a single
            layer.
        leak: slope of these units below zero.
        emission: distribution of a row; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.

    Shapes: sites ``z1``, ``z2``, ... (K, B, T, J) from the lowest layer up, a single layer ``z``,
    and ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Rezende, Mohamed and Wierstra, Stochastic backpropagation and approximate inference
    in deep generative models, 2014, equations 2 to 5.
    """

    traits: ModelTraits = ModelTraits(latents="continuous", sequential=False, conditions=True)
    companions: ClassVar[Companions] = Companions("layered-gaussian", "elbo", "mnist")
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 1e-3, "batch_size": 128})

    def __init__(
        self,
        info: DataInfo,
        *,
        latent_dim: LayerSizes | None = None,
        hidden_dim: LayerSizes = (200, 200),
        leak: Leak = LEAK,
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(info)
        self.history = 0
        first = usual_latents(info)
        dims = (first, (first + 1) // 2) if latent_dim is None else latent_dim
        self.latents = layer_sites(dims, "continuous")
        self.observed = {"x": info.dim}
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        given, start = self.conditions.dim, self.emission.start(info)
        lowest, *_ = layers = sizes(self.latents).values()
        self.decoder = Conditional(
            lowest + given, self.emission, hidden_dim, start=start, leak=leak
        )
        self.priors = nn.ModuleList(
            normal_conditional(above + given, own, hidden_dim, shrink=1.0, leak=leak)
            for own, above in pairwise(layers)
        )

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One row: the highest layer from the standard normal distribution, and then downward."""
        del past, t
        *lower, highest = self.latents
        zeros = self.decoder.last.bias.new_zeros(self.latents[highest].dim)
        z = draw(highest, NormalVector(zeros, zeros + 1))
        for name, prior in zip(reversed(lower), reversed(self.priors), strict=True):
            z = draw(name, prior(_with(z, encoded)))
        draw("x", self.decoder(_with(z, encoded)))


def _with(z: Tensor, given: Tensor | None) -> Tensor:
    """Latents and conditions side by side, (..., J + U)."""
    return z if given is None else join(z, given)
