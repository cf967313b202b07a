"""Adversarially learned inference: a game on pairs of observations and latents."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Unpack, final

from torch import Tensor

from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.critic_term import logistic
from pyrodgm.objectives.pairs import PairGame, PairOptions
from pyrodgm.objectives.targets import Targets

GeneratorLoss = Literal["logd", "minimax"]
ESTIMATE = "jensen_shannon_estimate_nats"


def against(kind: GeneratorLoss, of_q: Tensor, of_p: Tensor) -> Tensor:
    """What is minimised against a critic that separates draws of q and of p, elementwise.

    Args:
        kind: "minimax", minus the critic's loss; or "logd", its loss with the labels exchanged.
        of_q: the critic at draws of q.
        of_p: at as many draws of p.
    """
    return -logistic(of_q, of_p) if kind == "minimax" else logistic(of_p, of_q)


class InferenceGame(PairGame):
    r"""The Jensen-Shannon divergence of the two joint distributions of (x, z), by a critic.

    .. math::
        \mathrm{JS}(q, p) = \log 2 - \tfrac12 \min_V \big[E_q\, \mathrm{softplus}(-V)
            + E_p\, \mathrm{softplus}(V)\big]

    Model and guide maximise what the critic minimises ("minimax"), whose gradient at the critic's
    optimum is that of 2 JS; or they minimise :math:`E_q\, \mathrm{softplus}(V) + E_p\,
    \mathrm{softplus}(-V)` ("logd"), whose gradient does not vanish where the critic is sure.

    Args:
        model, guide: as of `PairGame`.
        generator_loss: "logd" or "minimax".
    """

    headline: ClassVar[str] = ESTIMATE

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        generator_loss: GeneratorLoss,
        **game: Unpack[PairOptions],
    ) -> None:
        super().__init__(model, guide, **game)
        self.generator_loss: GeneratorLoss = generator_loss

    def adversary(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """Minus the critic's loss; or its loss with the labels exchanged."""
        return against(self.generator_loss, of_q, of_p)

    def estimate(self, of_q: Tensor, of_p: Tensor) -> Tensor:
        """The Jensen-Shannon divergence as the critic sees it, at most log 2."""
        return math.log(2) - logistic(of_q, of_p) / 2


@final
class ALI(InferenceGame):
    r"""Adversarially learned inference, or bidirectional generative adversarial networks.

    .. math::
        \text{critic: } & \max_V \; E_{q(x) q(z \mid x)} \log \sigma(V(x, z))
            + E_{p(z) p(x \mid z)} \log \sigma(-V(x, z)) \\
        \text{model and guide, minimax: } & \min_{p, q} \; \text{the same} \\
        \text{logd: } & \max_{p, q} \; E_q \log \sigma(-V(x, z)) + E_p \log \sigma(V(x, z))

    At the optimum of the critic the first is 2 JS - log 4, with the Jensen-Shannon divergence JS of
    the two joint distributions. Nothing but this ties z to x: at its optimum p(z | x) = q(z | x),
    but before it reconstructions may be of other data; see `ALICE`.

    Arguments and what is reported are those of `pyrodgm.objectives.pairs.PairGame`; the estimate is
    no bound.

    Args:
        model: the model p, of rows, with a density or without one.
        guide: the guide q; its draws carry gradients.
        generator_loss: "logd" as in the reference's experiments, or "minimax".

    Reference: Dumoulin et al., Adversarially learned inference, 2017, equation 1 and algorithm 1;
    Donahue, Krahenbuhl and Darrell, Adversarial feature learning, 2017.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("JS of (x, z)", "JS of (x, z)", "Dumoulin et al. 2017, eq. 1"),
    )

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        generator_loss: GeneratorLoss = "logd",
        **game: Unpack[PairOptions],
    ) -> None:
        super().__init__(model, guide, generator_loss=generator_loss, **game)
