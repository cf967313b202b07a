"""Variational autoencoders: independent rows as a network's function of normal latents."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.data.base import DataInfo
from pyrodgm.models.base import Companions
from pyrodgm.models.dlgm import NormalLayers, usual_latents
from pyrodgm.networks.emissions import EmissionName
from pyrodgm.networks.layers import LayerSizes

Size = Annotated[int, Field(ge=1)]


@final
class VAE(NormalLayers):
    r"""The generative model of a variational autoencoder, of independent rows.

    .. math:: z \sim \mathcal N(0, I), \qquad x \mid z \sim \text{emission}(A h^L + a), \qquad
        h^l = \mathrm{relu}(C^l h^{l-1} + c^l), \qquad h^0 = (z, u)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        latent_dim: latent dimensions J; by default half the number of features, and at most 20.
        hidden_dim: rectified units of every hidden layer of the decoder; a number is a single
            layer.
        emission: distribution of a row; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.

    Shapes: sites ``z`` (K, B, T, J) and ``x`` (B, T, D). Frames of a sequence count as independent
    rows.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Kingma and Welling, Auto-encoding variational Bayes, 2014.
    """

    companions: ClassVar[Companions] = Companions("gaussian", "elbo", "mnist")

    def __init__(
        self,
        info: DataInfo,
        *,
        latent_dim: Size | None = None,
        hidden_dim: LayerSizes = (200, 200),
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(
            info,
            latent_dim=usual_latents(info) if latent_dim is None else latent_dim,
            hidden_dim=hidden_dim,
            emission=emission,
            nade_dim=nade_dim,
        )
