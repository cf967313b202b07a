"""A feed-forward generator of rows: real numbers as a network's function of noise."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.data.kinds import taken_for
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, Form, ModelTraits
from pyrodgm.models.implicit import Generator
from pyrodgm.networks.inputs import means
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.mlp import relu_network


@final
class FeedForwardGenerator(Generator):
    r"""Rows computed from noise by a feed-forward network.

    .. math:: x = \mu + \sigma \odot g(\epsilon), \qquad \epsilon \sim \mathcal N(0, I)

    with :math:`\mu` and :math:`\sigma` the means and standard deviations of the training data, so
    that the network computes standardised numbers. Frames of a sequence are independent rows.

    With ``latent_dim``, J of the numbers are latents that a guide infers, and x is a function of
    them and of N others, :math:`x = \mu + \sigma \odot g(z, \epsilon)`.

    Args:
        info: the data's facts; its features are D.
        noise_dim: numbers of noise, N; with latents, beside these, and 0 makes x a function of z
            alone.
        latent_dim: latent variables J; without, there are none.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.

    Shapes: sites ``z`` (B, T, J), ``noise`` (B, T, N) and ``x`` (B, T, D).

    Raises:
        DataError: the data is not real-valued.
        UsageError: neither noise nor latents.

    Reference: Goodfellow et al., Generative adversarial nets, 2014; with latents, Dumoulin et al.,
    Adversarially learned inference, 2017.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=False, density="none")
    companions: ClassVar[Companions] = Companions("none", "wgan", "gmm5")
    forms: ClassVar[tuple[Form, ...]] = (
        Form(
            "FeedForwardGenerator with latent_dim",
            ModelTraits(latents="continuous", sequential=False, density="none"),
            Companions("implicit", "alice", "gmm5"),
            {"latent_dim": 2},
            frozenset({"latent_dim"}),
        ),
    )
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        info: DataInfo,
        *,
        noise_dim: Annotated[int, Field(ge=0)] = 2,
        latent_dim: Annotated[int, Field(ge=1)] | None = None,
        hidden_dim: LayerSizes = (128, 128),
    ) -> None:
        super().__init__(info, noise_dim=noise_dim, latent_dim=latent_dim or 0)
        self.traits = self.form({"latent_dim": latent_dim}).traits
        if info.kind != "real":
            raise DataError(
                f"generator draws real values, but the data '{info.name}' has {info.kind} values"
                f"{taken_for(info.kind, ('real',))}"
            )
        self.network = relu_network(self.noise_dim, hidden_dim, info.dim)
        self.register_buffer("mean", means(info), persistent=False)
        # Zero for constant features, whose draws then equal the constant.
        std = torch.tensor(info.std or (1.0,) * info.dim, dtype=torch.get_default_dtype())
        self.register_buffer("scale", std, persistent=False)

    def generate(self, noise: Tensor, batch: Batch) -> Tensor:
        """Observations (..., B, T, D) from latents and noise, (..., B, T, J + N)."""
        del batch
        return self.mean + self.scale * self.network(noise)
