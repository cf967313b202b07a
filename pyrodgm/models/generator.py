"""A feed-forward generator of rows: real numbers or bits as a network's function of noise."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.data.kinds import taken_for
from pyrodgm.engine.past import join
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, Form, ModelTraits
from pyrodgm.models.implicit import BitGenerator
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import means
from pyrodgm.networks.layers import LayerSizes, layer_sizes
from pyrodgm.networks.mlp import FrameNorm, relu_network
from pyrodgm.networks.pictures import Network, PictureDecoder, conv_channels

KINDS = ("real", "unit", "binary")
LEAST_RATE = 0.01  # of a pixel that is hardly ever set, in the start of the network
MOST_NOISE = 64  # variables, unless more are asked for


@final
class FeedForwardGenerator(BitGenerator):
    r"""Rows computed from noise by a feed-forward network.

    .. math::
        \text{real: } & x = \mu + \sigma \odot g(\epsilon, c), \qquad
            \epsilon \sim \mathcal N(0, I) \\
        \text{in [0, 1]: } & x = \mathrm{sigmoid}(\mathrm{logit}\, \mu + g(\epsilon, c)) \\
        \text{bits: } & x \sim \mathrm{Bernoulli}(\mathrm{sigmoid}(\mathrm{logit}\, \mu +
            g(\epsilon, c)))

    with :math:`\mu` and :math:`\sigma` the means and standard deviations of the training data, so
    that the network computes standardised numbers, and c the conditions of a frame, if any, such as
    its label. Frames of a sequence are independent rows. How draws of bits carry gradients is in
    `BitGenerator`.

    With ``latent_dim``, J of the numbers are latents that a guide infers, and x is a function of
    them and of N others, :math:`x = \mu + \sigma \odot g(z, \epsilon)`.

    Args:
        info: the data's facts; its features are D.
        noise_dim: numbers of noise, N, by default as many as features, at most 64; with latents,
            beside these, and 0 makes x a function of z alone.
        latent_dim: latent variables J; without, there are none.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.
        network: "dense", or for pictures "conv" or the channels of its convolutions, above which
            are the hidden layers.
        batch_norm: whether hidden units are normalised over the batch, see
            `pyrodgm.networks.mlp.FrameNorm`.

    Shapes: sites ``z`` (B, T, J), ``noise`` (B, T, N) and ``x`` (B, T, D).

    Raises:
        DataError: the data is neither real-valued nor bits, or convolutions and no pictures.
        UsageError: neither noise nor latents.

    Reference: Goodfellow et al., Generative adversarial nets, 2014; with conditions, Mirza and
    Osindero, Conditional GANs, 2014; with latents, Dumoulin et al., Adversarially learned
    inference, 2017.
    """

    traits: ModelTraits = ModelTraits(
        latents="none", sequential=False, density="none", conditions=True
    )
    companions: ClassVar[Companions] = Companions("none", "wgan", "gmm5")
    forms: ClassVar[tuple[Form, ...]] = (
        Form(
            "FeedForwardGenerator with latent_dim",
            ModelTraits(latents="continuous", sequential=False, density="none", conditions=True),
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
        noise_dim: Annotated[int, Field(ge=0)] | None = None,
        latent_dim: Annotated[int, Field(ge=1)] | None = None,
        hidden_dim: LayerSizes = (128, 128),
        network: Network = "dense",
        batch_norm: bool = False,
    ) -> None:
        if info.kind not in KINDS:
            raise DataError(
                f"generator draws real values and bits, but the data '{info.name}' has "
                f"{info.kind} values{taken_for(info.kind, KINDS)}"
            )
        noise_dim = min(info.dim, MOST_NOISE) if noise_dim is None else noise_dim
        super().__init__(info, noise_dim=noise_dim, latent_dim=latent_dim or 0)
        self.traits = self.form({"latent_dim": latent_dim}).traits
        self.kind = info.kind
        self.conditions = Conditions(info)
        read = self.input_dim + self.conditions.dim
        self.network = _network(info, read, hidden_dim, network, batch_norm=batch_norm)
        mean = means(info)
        if self.kind != "real":
            mean = mean.clamp(LEAST_RATE, 1 - LEAST_RATE).logit()
        self.register_buffer("mean", mean, persistent=False)
        # Zero for constant features, whose draws then equal the constant.
        std = torch.tensor(info.std or (1.0,) * info.dim, dtype=torch.get_default_dtype())
        std = std if self.kind == "real" else torch.ones_like(std)
        self.register_buffer("scale", std, persistent=False)

    def computed(self, noise: Tensor, batch: Batch) -> Tensor:
        """Real numbers, or logits, (..., B, T, D) from latents and noise, (..., B, T, J + N)."""
        given = self.conditions(batch)
        inputs = noise if given is None else join(noise, given)
        found = torch.addcmul(self.mean, self.scale, self.network(inputs))
        return found.sigmoid() if self.kind == "unit" else found


def _network(
    info: DataInfo, dim: int, hidden_dim: LayerSizes, network: Network, *, batch_norm: bool
) -> nn.Sequential:
    """Rectified layers, and an output that is linear or, of pictures, by convolutions."""
    channels = conv_channels(network)
    if channels is None:
        return relu_network(dim, hidden_dim, info.dim, batch_norm=batch_norm)
    *below, last = layer_sizes(hidden_dim)
    hidden = nn.Sequential(nn.Linear(dim, last))
    if below:
        hidden = relu_network(dim, tuple(below), last, batch_norm=batch_norm)
    norm = [FrameNorm(last)] if batch_norm else []
    return hidden.extend((*norm, nn.ReLU(), PictureDecoder(info, last, info.dim, channels)))
