"""Options of a phase's optimiser.

Annotations are evaluated here, because a dataclass of another module inherits these fields.
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
        optimizer: "adam" (with decoupled weight decay), or "rmsprop" as for the published sigmoid
            belief networks.
        lr: learning rate.
        betas: of "adam", weights of the past in the averages of the gradient and of its square;
            0.9 and 0.999 if not given.
        weight_decay: weight-decay coefficient; under "adam" decoupled, and not applied to biases.
        clip_norm: largest norm of the gradient of a step; larger gradients are scaled down. None by
            default.

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
            raise UsageError(f"betas are for optimizer 'adam', but this one is '{self.optimizer}'")
