"""Options of training, the schema of the `[fit]` group."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from pyrodgm.errors import UsageError
from pyrodgm.objectives.optimizer import OptimizerOptions, Positive

Count = Annotated[int, Field(ge=1)]
STEPS = 20_000  # of training that nothing else ends
PATIENCE = 20  # evaluations


@dataclass(frozen=True, kw_only=True)
class FitOptions(OptimizerOptions):
    """Options of training; the schema of the `[fit]` group.

    Args:
        steps: largest number of batches to train on; 20,000 if neither it nor a time limit is
            given, and without a limit if only a time limit is.
        time_limit: largest number of seconds to train, across resumes; none by default.
        batch_size: largest number of sequences per batch, over all devices together; batches are
            smaller where padding would be too large.
        optimizer: "adam" (with decoupled weight decay), or "rmsprop" as in the training of the
            published sigmoid belief networks. A phase may have its own optimizer, lr, betas,
            weight_decay and clip_norm.
        lr: learning rate.
        betas: of "adam", weights of the past in the averages of the gradient and of its square;
            0.9 and 0.999 if not given.
        chunk: largest number of frames that a step trains on: longer sequences are trained in
            consecutive chunks, each from the state at the end of the one before, without gradients
            into it (truncated backpropagation through time). Every chunk is a step. "whole" trains
            on whole sequences, and "auto" on short chunks where these lose no gradient, see
            `pyrodgm.setup.chunking.with_chunk`.
        lr_schedule: "plateau" decays the learning rates by `lr_decay` on plateaus of the validation
            score; "cosine" and "linear" let them fall from their start to zero over the run, by its
            share of the steps or of the time limit, whichever is further.
        lr_decay: of "plateau", factor on the learning rate whenever validation has not improved for
            more than `lr_patience` evaluations; 1 keeps it constant.
        lr_patience: of "plateau", evaluations to wait before that.
        weight_decay: weight-decay coefficient; under "adam" decoupled, and not applied to biases.
        decay_epochs: the weight decay of "adam" in epochs: without a gradient, weights shrink by a
            factor e in this many passes over the data; see `pyrodgm.setup.decay.with_decay`. 0 is
            no such decay; a `weight_decay` above 0 takes precedence, and any that is given, 0 too,
            replaces the default of a model.
        clip_norm: largest norm of the gradient of a step; larger gradients are scaled down. None by
            default.
        per_frame: whether the loss of a step is a mean over frames, as in the published protocol,
            and not over sequences; with Adam the difference is small.
        patience: evaluations without improvement after which training stops. "auto" is 20 under
            "plateau", and no limit while rates fall by "cosine" or "linear", which improve late.
        restarts: number of independent trainings with different seeds; the best on validation is
            kept. Each has all the steps and the patience, and its share of the time; the second
            uses ``seed + 1``, and so on.
        averaging: weight of the past in the exponential average of the weights that is evaluated
            and kept; 0 keeps the last weights themselves.
        evaluate_every: steps between evaluations on validation, each followed by a checkpoint.
        start_from: folder of a run with the same model and guide, whose best weights these have
            before the first step, such as one by another objective or on other data.
        seed: of everything random.
        device: "auto" uses a GPU if there is one.
        precision: "32", or "bf16" for mixed precision.
        devices: processes per node, each with its own device.
        num_nodes: number of machines.
    """

    steps: Count | None = None
    time_limit: Positive | None = None
    batch_size: Count = 16
    chunk: Literal["auto", "whole"] | Count = "whole"
    lr_schedule: Literal["plateau", "cosine", "linear"] = "plateau"
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    lr_patience: Count = 5
    per_frame: bool = False
    decay_epochs: Annotated[float, Field(ge=0)] = 0.0
    patience: Literal["auto"] | Count = "auto"
    restarts: Count = 1
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.995
    evaluate_every: Count = 200
    start_from: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    devices: Count = 1
    num_nodes: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay_epochs and self.optimizer != "adam":
            raise UsageError(
                f"fit.decay_epochs is {self.decay_epochs:g}, which is for the optimizer 'adam', "
                f"but this one is '{self.optimizer}'; give fit.weight_decay"
            )
        if self.steps is None and self.time_limit is None:
            object.__setattr__(self, "steps", STEPS)

    @property
    def waits(self) -> float:
        """Evaluations without improvement after which training stops."""
        if self.patience != "auto":
            return self.patience
        return PATIENCE if self.lr_schedule == "plateau" else math.inf

    @property
    def longest(self) -> int | None:
        """The largest number of frames of a chunk; None for whole sequences."""
        return None if isinstance(self.chunk, str) else self.chunk

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        return asdict(self)
