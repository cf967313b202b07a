"""f-GAN: a generator that minimises any f-divergence by its variational form."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Unpack, final

from pydantic import Field

from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.divergences import DIVERGENCES, DivergenceName
from pyrodgm.objectives.generator_game import GameOptions, GeneratorGame
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.slope import BoundKind, SlopeBound
from pyrodgm.objectives.targets import Targets

ESTIMATE = "divergence_estimate"


@final
class FGAN(GeneratorGame):
    r"""An f-divergence of data and draws, by a critic V of the log ratio.

    .. math::
        \text{critic: } & \max_V \; F = E f'(e^{V(x)}) - E\, [e^v f'(e^v) - f(e^v)]_{v =
            V(g(\epsilon))} \le D_f(\text{data} \,\Vert\, \text{draws}) \\
        \text{generator, bound: } & \min_g F \\
        \text{generator, direct: } & \max_g \; E f'(e^{V(g(\epsilon))})

    The best V is the log ratio of the densities of data and draws for every f. What is reported is
    F: for a fixed critic, a lower bound on the divergence in expectation. KL, reverse KL and
    Pearson have parts that grow like exponentials of V, and the game diverges within some hundred
    steps without a bound on the critic's slope, which is therefore the default.

    In the review's equation 30 the first argument is the data: "kl" is KL(data, draws), which
    covers all modes, and "reverse-kl" is KL(draws, data). Its f for GANs is not zero at 1, although
    it asks for this: "gan" is 2 JS - log 4, and "js" the divergence itself. There are no
    validation scores, and the last weights are kept.

    Args:
        model: the generator.
        guide: the guide "none".
        divergence: "kl", "reverse-kl", "js", "pearson", "hellinger" or "gan".
        generator_loss: "bound", as in algorithm 6 of the review, or "direct", section 3.2 of the
            reference, whose gradients do not vanish where the critic is right.
        bound: what bounds the critic's slope, see `pyrodgm.objectives.slope.SlopeBound`;
            with "none", V can be any log ratio.
        bound_by: its size.
        critic_steps: turns of the critic per step, each on new rows.
        **options: of the critic, labels and bits, see `GeneratorGame`.

    Reference: Nowozin, Cseke and Tomioka, f-GAN, 2016; Ou, A review of learning with deep
    generative models, 2018, algorithm 6 and equation 36.
    """

    targets: ClassVar[tuple[Targets, ...]] = (
        Targets("f-divergence-LB", "f-divergence-LB", "eq. 30-36"),
    )
    headline: ClassVar[str] = ESTIMATE

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        divergence: DivergenceName = "js",
        generator_loss: Literal["bound", "direct"] = "bound",
        bound: BoundKind = "spectral",
        bound_by: Positive | None = None,
        critic_steps: Annotated[int, Field(ge=1)] = 1,
        **options: Unpack[GameOptions],
    ) -> None:
        super().__init__(model, guide, **options)
        self.divergence = DIVERGENCES[divergence]
        self.direct = generator_loss == "direct"
        self.bound, self.critic_steps = SlopeBound(bound, bound_by), critic_steps
