"""Recognition networks that run forward in time, each draw conditioned on the draws before it."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import BernoulliVector
from pyrodgm.guides.base import GuideTraits, SequenceGuide
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.sequences import Draw, Past, lagged


@final
class RecurrentBernoulli(SequenceGuide):
    r"""The recognition model of the temporal sigmoid belief network, itself of its form.

    .. math:: q(z_t = 1 \mid z_{<t}, x_{\le t}) =
        \sigma(U_1 z_{t-n:t-1} + U_2 x_t + U_3 x_{t-n:t-1} + d)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables per frame, J.
        history: order n.
        init_scale: standard deviation of the initial weights.

    Reference: Gan et al., Deep temporal sigmoid belief networks for sequence modeling, 2015,
    equation 16 of the slides. The first n frames have a bias d of their own.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="binary", sequential=True)

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 100,
        history: Annotated[int, Field(ge=1)] = 1,
        init_scale: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        self.history = history
        self.latents = {"z": hidden_dim}
        self.z_from_z = nn.Linear(history * hidden_dim, hidden_dim, bias=False)
        self.z_from_now = nn.Linear(info.dim, hidden_dim, bias=False)
        self.z_from_past = nn.Linear(history * info.dim, hidden_dim, bias=False)
        for layer in (self.z_from_z, self.z_from_now, self.z_from_past):
            nn.init.normal_(layer.weight, std=init_scale)
        self.z_bias = FirstSteps(hidden_dim, history)

    def encode(self, batch: Batch) -> Tensor:
        """What every frame's odds owe to the observations, (B, T, J)."""
        past = self.z_from_past(lagged(batch.x, self.history))
        return self.z_from_now(batch.x) + past + self.z_bias.over(batch.length)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: what the observations say plus what the draws before it say."""
        del t
        draw("z", BernoulliVector(encoded + self.z_from_z(past["z"])))
