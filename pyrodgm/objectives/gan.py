"""Generative adversarial networks: a critic that classifies data and draws."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Unpack, final

from pydantic import Field
from torch import Tensor

from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.divergences import DIVERGENCES
from pyrodgm.objectives.game import ACCURACY
from pyrodgm.objectives.generator_game import GameOptions, GeneratorGame
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.slope import BoundKind, SlopeBound
from pyrodgm.objectives.targets import Targets

ESTIMATE = "jensen_shannon_estimate_nats"


@final
class GAN(GeneratorGame):
    r"""A generator against a classifier, :math:`D = \mathrm{sigmoid}(V)`.

    .. math::
        \text{critic: } & \max_V \; F = E \log D(x) + E \log(1 - D(g(\epsilon))) \\
        \text{generator, logd: } & \max_g \; E \log D(g(\epsilon)) \\
        \text{generator, minimax: } & \min_g \; E \log(1 - D(g(\epsilon)))

    At the best critic :math:`F = 2\, \mathrm{JS} - \log 4`. The reported number is
    :math:`(F + \log 4) / 2` in nats: for a fixed critic, a lower bound on the Jensen-Shannon
    divergence in expectation, at most log 2 = 0.693. It does not compare generators, since critics
    differ; there is no validation score, and the last weights are kept.

    Args:
        model: the generator.
        guide: the guide "none".
        generator_loss: "logd", whose gradient does not vanish where the critic is right, or
            "minimax".
        bound: what bounds the critic's slope: "none", "clip", "penalty", "zero-centred" or
            "spectral", see `pyrodgm.objectives.slope.SlopeBound`.
        bound_by: its size.
        critic_steps: turns of the critic per step, each on new rows.
        **options: of the critic, labels and bits, see `GeneratorGame`.

    Reference: Goodfellow et al., Generative adversarial nets, 2014, algorithm 1 and section 3.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("f-divergence-LB", "f-divergence-LB", "eq. 28-29"),
    )
    headline: ClassVar[str] = ESTIMATE

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        generator_loss: Literal["logd", "minimax"] = "logd",
        bound: BoundKind = "none",
        bound_by: Positive | None = None,
        critic_steps: Annotated[int, Field(ge=1)] = 1,
        **options: Unpack[GameOptions],
    ) -> None:
        super().__init__(model, guide, **options)
        self.divergence = DIVERGENCES["gan"]
        self.direct = generator_loss == "logd"
        self.bound, self.critic_steps = SlopeBound(bound, bound_by), critic_steps

    def numbers(self, of_data: Tensor, of_draws: Tensor) -> dict[str, Tensor]:
        """The estimate of the Jensen-Shannon divergence, and the critic's accuracy."""
        found = super().numbers(of_data, of_draws)
        return {ESTIMATE: 0.5 * (found[ESTIMATE] + math.log(4)), ACCURACY: found[ACCURACY]}
