"""Wasserstein generative adversarial networks: a critic of bounded slope."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Unpack, final

from pydantic import Field

from pyrodgm.errors import UsageError
from pyrodgm.guides.base import Guide
from pyrodgm.models.base import Model
from pyrodgm.objectives.divergences import LINEAR
from pyrodgm.objectives.generator_game import GameOptions, GeneratorGame
from pyrodgm.objectives.optimizer import Positive
from pyrodgm.objectives.slope import SlopeBound
from pyrodgm.objectives.targets import Targets

ESTIMATE = "wasserstein_estimate_in_sd"
Bound = Literal["penalty", "zero-centred", "clip", "spectral"]


@final
class WGAN(GeneratorGame):
    r"""The Wasserstein-1 distance between draws and data, estimated by a critic f.

    .. math::
        \text{critic: } & \min_f \; \mathbb E f(g(\epsilon)) - \mathbb E f(x)
            + \lambda\, \mathbb E \big(\lVert \nabla f(\hat x) \rVert - 1\big)^2, \qquad
            \hat x = u\, x + (1 - u)\, g(\epsilon), \; u \sim \mathcal U(0, 1) \\
        \text{generator: } & \min_g \; -\mathbb E f(g(\epsilon))

    Frames are compared individually, with standardised features: distances are in standard
    deviations of the data. The critic has several turns per step, each on new rows. With ``clip``,
    the weights of the critic are clipped to :math:`\pm c` instead of the penalty.

    The reported :math:`\mathbb E f(x) - \mathbb E f(g(\epsilon))` is an estimate and not a bound:
    the penalty does not keep every gradient norm below one, and the critic is not optimal. Values
    of different critics cannot be compared, so there is no validation score, and the last weights
    are kept.

    Args:
        model: the generator.
        guide: the guide "none".
        penalty: weight of the gradient penalty, :math:`\lambda`, as bound="penalty".
        clip: bound on the weights of the critic, c, such as 0.01, as bound="clip".
        bound: what bounds the slope of the critic, "penalty", "zero-centred", "clip" or
            "spectral", see `pyrodgm.objectives.slope.SlopeBound`; a penalty if nothing is given.
        bound_by: its size.
        critic_steps: turns of the critic per step.
        **options: of the critic, labels and bits, see `GeneratorGame`. The reference has learning
            rates of 0.0001 for both; the smaller networks here need ten times as much.

    Raises:
        UsageError: two bounds.
        CompatibilityError: the model is not a generator.

    Reference: Gulrajani et al., Improved training of Wasserstein GANs, 2017, algorithm 1; with
    clip, Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017, algorithm 1 but for its optimiser.
    """

    targets: ClassVar[tuple[Targets, ...]] = (Targets("Wasserstein", "Wasserstein", "eq. 37"),)
    headline: ClassVar[str] = ESTIMATE
    classifies: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ("draws_coverage",)

    def __init__(
        self,
        model: Model,
        guide: Guide,
        *,
        penalty: Positive | None = None,
        clip: Positive | None = None,
        bound: Bound | None = None,
        bound_by: Positive | None = None,
        critic_steps: Annotated[int, Field(ge=1)] = 5,
        **options: Unpack[GameOptions],
    ) -> None:
        super().__init__(model, guide, **options)
        self.divergence = LINEAR
        self.bound, self.critic_steps = _bound(penalty, clip, bound, bound_by), critic_steps


def _bound(
    penalty: float | None, clip: float | None, kind: Bound | None, size: float | None
) -> SlopeBound:
    """The bound on the slope, by whichever option it is given.

    Raises:
        UsageError: by more than one.
    """
    given = {"penalty": penalty, "clip": clip, "bound": kind}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) > 1 or (size is not None and kind is None and given):
        words = " and ".join(f"{n}={v if n == 'bound' else f'{v:g}'}" for n, v in given.items())
        raise UsageError(f"WGAN is given {words}; give one of the two")
    if clip is not None:
        return SlopeBound("clip", clip)
    return SlopeBound(kind or "penalty", size if penalty is None else penalty)
