"""Wake-sleep: the model learns from the guide's draws, and the guide from the model's."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

from pydantic import Field

from pyrodgm.batch import Batch
from pyrodgm.engine.terms import terms
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.base import Loss, Needs, Objective
from pyrodgm.objectives.single import sequence_mean
from pyrodgm.objectives.sleep import with_sleep
from pyrodgm.objectives.targets import Targets


@final
class WakeSleep(Objective):
    r"""Wake-sleep, for any kind of latents.

    .. math::
        \text{wake: } & z^k \sim q_\phi(z \mid x), & \nabla_\theta &=
            \frac1K \sum_k \nabla_\theta \log p_\theta(x, z^k) \\
        \text{sleep: } & (x'^k, z'^k) \sim p_\theta(x, z), & \nabla_\phi &=
            \frac1K \sum_k \nabla_\phi \log q_\phi(z'^k \mid x'^k)

    The wake phase is an unbiased gradient of the evidence lower bound for the model. The sleep
    phase is an unbiased gradient of :math:`-E_{p(x)} \mathrm{KL}(p(z \mid x), q(z \mid x))` for the
    guide: the other direction of the divergence, and on rows of the model in the place of the
    data. The two have no common objective.

    Both phases are one step, because they update different parameters from draws at the same
    values of them, as in algorithm 4 of the review. Dreams (x', z') have the lengths, the
    conditions and the missing values of the batch.

    Args:
        model: the model p.
        guide: the guide q.
        particles: draws of the guide, and of the model, for every row, K.

    Raises:
        CompatibilityError: the model cannot be drawn from frame by frame.

    Reference: Hinton et al., The wake-sleep algorithm for unsupervised neural networks, 1995; Ou, A
    review of learning with deep generative models, algorithm 4, equations 20 to 22.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("V-LB", "sleep", "alg. 4, eq. 20-22"),)
    needs: ClassVar[Needs] = Needs()

    def __init__(
        self, model: Model, guide: Guide, *, particles: Annotated[int, Field(ge=1)] = 1
    ) -> None:
        super().__init__(model, guide)
        self.particles = particles

    def loss(self, batch: Batch) -> Loss:
        """Minus (log p of the guide's draws + log q of the model's draws), per sequence."""
        found = terms(self.model, self.guide, batch, self.particles, pathwise=False)
        wake = Loss(-sequence_mean(found.log_p), found.report(), found.by_name())
        return with_sleep(wake, self, batch, share=1.0, particles=self.particles)
