"""Temporal sigmoid belief networks: binary latent vectors whose log-odds depend on the past."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import (
    LayerSizes,
    SigmoidLayer,
    SigmoidLayers,
    layer_sites,
    plus,
    weights,
)
from pyrodgm.networks.mlp import connection

Order = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(gt=0)]
NadeDim = Annotated[int, Field(ge=1)] | None

# What learns best on music by `rws`; docs/learning.md. Chunks are short steps: evaluate less often.
_BY_RWS = {
    "lr": 0.02,
    "lr_schedule": "cosine",
    "decay_epochs": 28.0,
    "chunk": "auto",
    "evaluate_every": 1000,
}


class SigmoidBeliefNetwork(StepModel):
    r"""Layers of binary latents over time, from one observed layer upward.

    With :math:`z^0 = x` and n lags of everything,

    .. math::
        p(z^l_t = 1 \mid \cdot) &= \sigma(W^l_1 z^l_{t-n:t-1} + W^l_3 z^{l-1}_{t-n:t-1}
            + W^l_2 z^{l+1}_t + V^l u_t + b^l) \\
        p(x_t \mid \cdot) &= \text{emission}(W_2 z^1_t + W_4 x_{t-n:t-1} + V^0 u_t + c)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: units J of the latent layer, or of every layer, the lowest first.
        history: order n; 0 for rows without time.
        feedback: whether lags of lower layers are used, W_3 and W_4.
        emission: name of the emission of a frame.
        nade_dim: hidden units of a NADE.
        init_scale: standard deviation of the initial weights.
        layer_dim: rectified units of networks in the place of the linear maps W_2 from one layer to
            the one below; None for linear maps.
    """

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: LayerSizes,
        history: int,
        feedback: bool,
        emission: EmissionName,
        nade_dim: int | None,
        init_scale: float,
        layer_dim: LayerSizes | None = None,
    ) -> None:
        super().__init__(info)
        self.history = history
        self.latents = layer_sites(hidden_dim)
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        dims = [self.inputs.dim, *sizes(self.latents).values(), 0]
        lags = history if feedback else 0
        connect = connection(layer_dim)
        shared = {
            "history": history,
            "scale": init_scale,
            "given_dim": self.conditions.dim,
            "connect": connect,
        }
        self.layers = SigmoidLayers(
            SigmoidLayer(own, history * own, lags * below, above, **shared)
            for below, own, above in zip(dims, dims[1:], dims[2:], strict=False)
        )
        self.x_from_z = connect(dims[1], self.emission.size, init_scale)
        self.x_from_x = weights(lags * self.inputs.dim, self.emission.size, init_scale)
        self.x_bias = FirstSteps(self.emission.size, history, init=self.emission.start(info))
        self.x_from_given = weights(self.conditions.dim, self.emission.size, init_scale)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: the latents from the top down, then the observation."""
        names = list(self.latents)
        seen = self.inputs.past(past["x"], t)
        z = None
        for name, below, layer in reversed(
            list(zip(names, ["x", *names], self.layers, strict=False))
        ):
            lower = seen if below == "x" else past[below]
            z = draw(name, BernoulliVector(layer(past[name], lower, z, layer.biases(t, encoded))))
        shared = plus(plus(self.x_bias(t), self.x_from_given, encoded), self.x_from_x, seen)
        draw("x", self.emission(plus(shared, self.x_from_z, z)))


_TRAITS = ModelTraits(latents="binary", sequential=True, conditions=True)


@final
class TSBN(SigmoidBeliefNetwork):
    r"""Temporal sigmoid belief network of order n.

    .. math::
        p(z_t = 1 \mid z_{<t}, x_{<t}) &= \sigma(W_1 z_{t-n:t-1} + W_3 x_{t-n:t-1} + b) \\
        p(x_t \mid z_t, x_{<t}) &= \text{emission}(W_2 z_t + W_4 x_{t-n:t-1} + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables per frame, J.
        history: order n, the number of earlier frames in the past.
        emission: distribution of a frame: "bernoulli", "categorical", "gaussian" (mean and
            log-variance), "gaussian-mixture" (of 10 components, or of C as "gaussian-mixture:C"),
            "multinomial" (counts given their total), "poisson", "negative-binomial", "nade" or
            "darn"; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        init_scale: standard deviation of the initial weights.

    Shapes: site ``z`` (K, B, T, J), site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gan, Li, Henao, Carlson and Carin, Deep temporal sigmoid belief networks for sequence
    modeling, 2015, equations 2 and 3; emissions are equations 12 to 14 of the slides. The first n
    frames have their own biases b and c; c starts at the data's means, and at zero in the published
    code. Counts enter as log(1 + x), real numbers standardised, symbols one-hot.
    """

    traits: ModelTraits = _TRAITS
    companions: ClassVar[Companions] = Companions("recurrent-bernoulli", "rws", "balls", _BY_RWS)

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 100,
        history: Order = 1,
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            history=history,
            feedback=True,
            emission=emission,
            nade_dim=nade_dim,
            init_scale=init_scale,
        )


@final
class HMSBN(SigmoidBeliefNetwork):
    r"""Hidden Markov sigmoid belief network: a TSBN that depends on past latents only.

    .. math::
        p(z_t = 1 \mid z_{<t}) = \sigma(W_1 z_{t-n:t-1} + b), \qquad
        p(x_t \mid z_t) = \text{emission}(W_2 z_t + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables per frame, or those of every layer, the lowest first: two
            layers are the deep DHMSBN-s.
        history: order n, the number of earlier frames in the past.
        emission: as in `TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        init_scale: standard deviation of the initial weights.

    Shapes: site ``z`` (K, B, T, J), or ``z1``, ``z2``, ... from the lowest layer up.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, W3 = W4 = 0; in the deep one
    all lags of lower layers are zero too.
    """

    traits: ModelTraits = _TRAITS
    companions: ClassVar[Companions] = Companions("recurrent-bernoulli", "rloo-local", "stu")

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: LayerSizes = 100,
        history: Order = 1,
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            history=history,
            feedback=False,
            emission=emission,
            nade_dim=nade_dim,
            init_scale=init_scale,
        )


@final
class DTSBNS(SigmoidBeliefNetwork):
    r"""Deep temporal sigmoid belief network whose layers are all stochastic.

    .. math::
        p(z^l_t = 1 \mid \cdot) &= \sigma(W^l_1 z^l_{t-n:t-1} + W^l_3 z^{l-1}_{t-n:t-1}
            + W^l_2 z^{l+1}_t + b^l), \qquad z^0 = x \\
        p(x_t \mid \cdot) &= \text{emission}(W_2 z^1_t + W_4 x_{t-n:t-1} + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables of every layer, the lowest first.
        history: order n, the number of earlier frames in the past.
        emission: as in `TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        init_scale: standard deviation of the initial weights.

    Shapes: sites ``z1``, ``z2``, ... (K, B, T, J_l) from the lowest layer up.

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, section 3.3, with the
    connections of the published code.
    """

    traits: ModelTraits = _TRAITS
    companions: ClassVar[Companions] = Companions("recurrent-bernoulli", "rloo-local", "balls")

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: LayerSizes = (100, 100),
        history: Order = 1,
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            history=history,
            feedback=True,
            emission=emission,
            nade_dim=nade_dim,
            init_scale=init_scale,
        )
