"""Temporal sigmoid belief networks: binary latent vectors whose odds depend on the past."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import BernoulliVector
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, ModelTraits, SequenceModel
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.sequences import Draw, Past


@final
class TSBN(SequenceModel):
    r"""Temporal sigmoid belief network of order n.

    .. math::
        p(z_t = 1 \mid z_{<t}, x_{<t}) &= \sigma(W_1 z_{t-n:t-1} + W_3 x_{t-n:t-1} + b) \\
        p(x_t = 1 \mid z_t, x_{<t}) &= \sigma(W_2 z_t + W_4 x_{t-n:t-1} + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables per frame, J.
        history: order n, how many frames back the past reaches.
        init_scale: standard deviation of the initial weights.

    Shapes: site ``z`` (K, B, T, J), site ``x`` (B, T, D) with values in {0,1}, or in [0,1] where
    they score by cross-entropy.

    Raises:
        DataError: the data has values outside [0,1].

    Reference: Gan, Li, Henao, Carlson and Carin, Deep temporal sigmoid belief networks for sequence
    modeling, 2015, equations 2 and 3. The first n frames have biases b and c of their own; c starts
    at the log-odds of the data where the authors start at zero.
    """

    traits: ClassVar[ModelTraits] = ModelTraits(latents="binary", sequential=True)
    companions: ClassVar[Companions] = Companions("recurrent-bernoulli", "rloo-local", "balls")

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 100,
        history: Annotated[int, Field(ge=1)] = 1,
        init_scale: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        if info.kind not in ("binary", "unit"):
            raise DataError(
                f"tsbn scores values in {{0,1}} or [0,1] and the data '{info.name}' is "
                f"{info.kind}-valued; rescale it into [0,1] or binarise it"
            )
        self.history = history
        self.latents = {"z": hidden_dim}
        self.observed = {"x": info.dim}
        self.z_from_z = nn.Linear(history * hidden_dim, hidden_dim, bias=False)
        self.z_from_x = nn.Linear(history * info.dim, hidden_dim, bias=False)
        self.x_from_z = nn.Linear(hidden_dim, info.dim, bias=False)
        self.x_from_x = nn.Linear(history * info.dim, info.dim, bias=False)
        for layer in (self.z_from_z, self.z_from_x, self.x_from_z, self.x_from_x):
            nn.init.normal_(layer.weight, std=init_scale)
        self.z_bias = FirstSteps(hidden_dim, history)
        self.x_bias = FirstSteps(info.dim, history, init=log_odds(info))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: the latents given the past, then the observation given both."""
        del encoded
        # What all particles share is added up first, once.
        shared = self.z_from_x(past["x"]) + self.z_bias(t)
        z = draw("z", BernoulliVector(self.z_from_z(past["z"]) + shared))
        shared = self.x_from_x(past["x"]) + self.x_bias(t)
        draw("x", BernoulliVector(self.x_from_z(z) + shared))


def log_odds(info: DataInfo, floor: float = 1e-3) -> Tensor:
    """Log-odds of the data's mean, (D,), with means kept `floor` away from zero and one."""
    mean = torch.tensor(info.mean, dtype=torch.get_default_dtype())
    return mean.clamp(floor, 1 - floor).logit()
