"""Deep autoregressive networks of independent rows."""

from __future__ import annotations

from typing import Annotated, ClassVar, cast, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.autoregressive import AutoregressiveLayer, LinearFamily
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes, layer_sites, plus, weights


@final
class DARN(StepModel):
    r"""Deep autoregressive network: layers of bits, each given those before it and the layer above.

    .. math::
        p(z^l_j = 1 \mid z^l_{<j}, z^{l+1}) &= \sigma\Big(b^l_j +
            \textstyle\sum_{i<j} A^l_{ji} z^l_i + (W^l z^{l+1})_j + (V^l u)_j\Big) \\
        p(x_d = 1 \mid x_{<d}, z^1) &= \sigma\Big(c_d +
            \textstyle\sum_{i<d} A^0_{di} x_i + (W^0 z^1)_d + (V^0 u)_d\Big)

    where u are conditions, if any. Other emissions have the parameters
    :math:`c + W^0 z^1 + V^0 u`. Log-probabilities take one matrix product per layer, draws one step
    per bit.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent bits, or those of every layer, the lowest first.
        emission: "darn", with features that depend on those before them, for bits; or another, as
            in `TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        init_scale: standard deviation of the initial weights between bits.

    Shapes: site ``z`` (K, B, T, J), or ``z1``, ``z2``, ... from the lowest layer up. Frames of a
    sequence count as independent rows.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gregor, Danihelka, Mnih, Blundell and Wierstra, Deep autoregressive networks, 2014,
    sections 3 and 4, with linear maps between layers. The biases c start at the log-odds of the
    data's means.
    """

    traits: ModelTraits = ModelTraits(latents="binary", sequential=False, conditions=True)
    companions: ClassVar[Companions] = Companions("bernoulli", "rloo", "mnist")

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: LayerSizes = 200,
        emission: EmissionName = "darn",
        nade_dim: Annotated[int, Field(ge=1)] | None = None,
        init_scale: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__(info)
        self.history = 0
        self.latents = layer_sites(hidden_dim)
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        given, dims = self.conditions.dim, list(sizes(self.latents).values())
        self.layers = nn.ModuleList(
            AutoregressiveLayer(LinearFamily(own, init_scale), above, given, init_scale)
            for own, above in zip(dims, [*dims[1:], 0], strict=True)
        )
        self.x_from_z = weights(dims[0], self.emission.size, init_scale)
        self.x_from_given = weights(given, self.emission.size, init_scale)
        self.x_bias = nn.Parameter(self.emission.start(info))

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One row: the layers from the top down, then the observation."""
        del past, t
        z = None
        for name, layer in reversed(list(zip(self.latents, self.layers, strict=True))):
            z = draw(name, cast("AutoregressiveLayer", layer)(z, encoded))
        numbers = plus(self.x_bias, self.x_from_given, encoded)
        draw("x", self.emission(plus(numbers, self.x_from_z, z)))
