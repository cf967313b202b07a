"""How parameters follow their gradients: the options of one phase's optimiser.

Annotations are evaluated here, since a dataclass of another module takes these fields over.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pyrodgm.errors import UsageError

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Options of an optimiser; those of `[fit]` are the options of phases without their own.

    Args:
        optimizer: "adam" (with decoupled weight decay where there is one), or "rmsprop" as the
            published sigmoid belief networks were trained.
        lr: learning rate.
        betas: of "adam", weights of the past in the averages of the gradient and of its square;
            0.9 and 0.999 if not given.
        weight_decay: pull of all parameters toward zero, relative to the learning rate.
        clip_norm: norm that the gradient of a step is cut down to; none by default.

    Raises:
        UsageError: betas for another optimiser than "adam".
    """

    optimizer: Literal["adam", "rmsprop"] = "adam"
    lr: Positive = 0.01
    betas: tuple[Decay, Decay] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Positive | None = None

    def __post_init__(self) -> None:
        if self.betas is not None and self.optimizer != "adam":
            raise UsageError(f"betas are for optimizer 'adam', and this one is '{self.optimizer}'")
