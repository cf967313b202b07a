"""Sigmoid belief networks of independent rows."""

from __future__ import annotations

from typing import ClassVar, final

from pyrodgm.data.base import DataInfo
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.tsbn import NadeDim, Scale, SigmoidBeliefNetwork
from pyrodgm.networks.emissions import EmissionName
from pyrodgm.networks.layers import LayerSizes


@final
class SBN(SigmoidBeliefNetwork):
    r"""Sigmoid belief network of independent rows.

    .. math::
        p(z^L = 1) = \sigma(b^L), \quad p(z^l = 1 \mid z^{l+1}) = \sigma(W^l z^{l+1} + b^l), \quad
        p(x \mid z^1) = \text{emission}(W z^1 + c)

    With `layer_dim`, networks of rectified units take the place of the linear maps, and c and every
    :math:`b^l` stay.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables, or those of every layer, the lowest first.
        emission: as in `TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        init_scale: standard deviation of the initial weights; with `layer_dim`, of those into
            latents and observation.
        layer_dim: rectified units between each layer of latents and the layer below, the
            observation included, or those of several such layers, the first next to the latents
            that they read; linear maps if not given.

    Shapes: site ``z`` (K, B, T, J), or ``z1``, ``z2``, ... from the lowest layer up. Frames of a
    sequence count as independent rows.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Neal, Connectionist learning of belief networks, 1992.
    """

    traits: ModelTraits = ModelTraits(latents="binary", sequential=False, conditions=True)
    companions: ClassVar[Companions] = Companions("bernoulli", "rloo", "mnist")

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: LayerSizes = 200,
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        init_scale: Scale = 0.01,
        layer_dim: LayerSizes | None = None,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            history=0,
            feedback=False,
            emission=emission,
            nade_dim=nade_dim,
            init_scale=init_scale,
            layer_dim=layer_dim,
        )
