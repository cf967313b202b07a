"""Variational autoencoders: independent rows as a network's function of normal latents."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, final

from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.conditional import Conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.layers import LayerSizes

Size = Annotated[int, Field(ge=1)]
MOST_LATENTS = 20


@final
class VAE(StepModel):
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

    traits: ClassVar[ModelTraits] = ModelTraits(
        latents="continuous", sequential=False, conditions=True
    )
    companions: ClassVar[Companions] = Companions("gaussian", "elbo", "mnist")
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 1e-3, "batch_size": 128})

    def __init__(
        self,
        info: DataInfo,
        *,
        latent_dim: Size | None = None,
        hidden_dim: LayerSizes = (200, 200),
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(info)
        dim = min((info.dim + 1) // 2, MOST_LATENTS) if latent_dim is None else latent_dim
        self.history = 0
        self.latents = {"z": Site(dim, "continuous")}
        self.observed = {"x": info.dim}
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        features, start = dim + self.conditions.dim, self.emission.start(info)
        # Small weights would start at a saddle point, where latents are of no use.
        self.decoder = Conditional(features, self.emission, hidden_dim, start=start, shrink=1.0)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every row, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One row: latents from the standard normal distribution, observations from the decoder."""
        del past, t
        zeros = self.decoder.last.bias.new_zeros(self.latents["z"].dim)
        z = draw("z", NormalVector(zeros, zeros + 1))
        draw("x", self.decoder(z if encoded is None else join(z, encoded)))
