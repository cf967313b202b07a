"""The one training loop: for each batch, for each phase, a loss, its gradient, a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from pyrodgm.batch import Batch
from pyrodgm.data.base import Splits
from pyrodgm.data.loader import BatchSampler
from pyrodgm.errors import NonFiniteError, UsageError
from pyrodgm.objectives import Loss, Objective, Phase
from pyrodgm.seeds import seed_everything

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of training; the schema of the `[fit]` group.

    Args:
        steps: batches to train on at most.
        time_limit: seconds to train at most, across resumes; none by default.
        batch_size: sequences per batch, over all devices together.
        lr: learning rate of Adam.
        lr_decay: factor on the learning rate whenever validation has not improved for
            `lr_patience` evaluations; 1 keeps it constant.
        lr_patience: evaluations to wait before that.
        patience: evaluations without improvement after which training stops.
        averaging: weight of the past in the exponential average of the weights that is evaluated
            and kept; 0 keeps the last weights themselves.
        evaluate_every: steps between evaluations on validation, each followed by a checkpoint.
        seed: of everything random.
        device: "auto" takes a GPU where there is one.
        precision: "32", or "bf16" for mixed precision.
        devices: processes per node, each with a device of its own.
        num_nodes: machines.
    """

    steps: Count = 20_000
    time_limit: Positive | None = None
    batch_size: Count = 16
    lr: Positive = 0.01
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    lr_patience: Count = 5
    patience: Count = 20
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.995
    evaluate_every: Count = 200
    seed: Annotated[int, Field(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["32", "bf16"] = "32"
    devices: Count = 1
    num_nodes: Count = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """What one step of training reports.

    Args:
        step: steps done, counted from one.
        seconds: spent in training so far, across resumes.
        report: what the objective reported, averaged over its phases' names.
    """

    step: int
    seconds: float
    report: dict[str, Tensor]


class Training:
    """A training run in progress: everything that a checkpoint must hold to continue it exactly.

    Args:
        objective: what is optimised, on the CPU; it moves to the chosen device.
        splits: the data.
        options: how to train.
        fabric: processes and devices, from `launch`.
    """

    def __init__(
        self, objective: Objective, splits: Splits, options: FitOptions, fabric: Fabric
    ) -> None:
        self.options = options
        self.splits = splits
        self.objective = objective
        self.fabric = fabric
        seed_everything(options.seed + self.fabric.global_rank)
        self.optimizers = [
            torch.optim.Adam(phase.parameters(), lr=options.lr, fused=True)
            for phase in objective.phases
        ]
        self._module, *optimizers = self._setup(objective)
        self._stepping = list(zip(objective.phases, optimizers, strict=True))
        self.schedules = [
            ReduceLROnPlateau(o, "max", factor=options.lr_decay, patience=options.lr_patience)
            for o in self.optimizers
        ]
        self.average = (
            AveragedModel(objective, multi_avg_fn=warm_average(options.averaging)).eval()
            if options.averaging
            else None
        )
        self.sampler = BatchSampler(
            splits.train.lengths,
            min(options.batch_size, max(len(splits.train), self.fabric.world_size)),
            options.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        self.step = 0
        self.seconds = 0.0

    def _setup(self, objective: Objective) -> tuple[Any, ...]:
        module, *optimizers = cast("Any", self.fabric.setup(objective, *self.optimizers))
        return module, *optimizers

    @property
    def evaluated(self) -> Objective:
        """The objective whose model and guide are evaluated and kept: the averaged one, if any."""
        return self.objective if self.average is None else cast("Objective", self.average.module)

    @property
    def lr(self) -> float:
        """The learning rate of the first phase, as decayed so far."""
        return self.optimizers[0].param_groups[0]["lr"]

    def steps(self) -> Iterator[Progress]:
        """Train, one batch a turn, until the steps or the time run out.

        Raises:
            NonFiniteError: a loss is not finite; the parameters are still those before the step.
        """
        self.objective.train()
        while not self._is_over():
            start = time.perf_counter()
            batch = self.splits.train.batch(next(self.sampler)).to(self.fabric.device)
            report: dict[str, Tensor] = {}
            for number, (phase, optimizer) in enumerate(self._stepping):
                for _ in range(phase.repeats):
                    report |= self._turn(number, phase, optimizer, batch).report
            if self.average is not None:
                self.average.update_parameters(self.objective)
            self.step += 1
            self.seconds += time.perf_counter() - start
            yield Progress(self.step, self.seconds, report)

    def _turn(self, number: int, phase: Phase, optimizer: Any, batch: Batch) -> Loss:
        """One phase on one batch: the gradient of its surrogate for its own parameters only."""
        with _only(self.objective, phase, alone=len(self._stepping) == 1):
            loss: Loss = self._module(batch, number)
            if not torch.isfinite(loss.surrogate):
                raise NonFiniteLoss(phase, loss, batch, self.step + 1)
            optimizer.zero_grad()
            self.fabric.backward(loss.surrogate)
            optimizer.step()
        if phase.after is not None:
            phase.after()
        return loss

    def _is_over(self) -> bool:
        limit = self.options.time_limit
        late = limit is not None and self.seconds >= limit
        if self.fabric.world_size > 1 and limit is not None:
            late = self.fabric.broadcast(late)
        return late or self.step >= self.options.steps

    def end_of_evaluation(self, score: float) -> None:
        """Let the learning rate follow the validation score."""
        for schedule in self.schedules:
            schedule.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimisers, schedules, generators, sampler, counters."""
        return {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [s.state_dict() for s in self.schedules],
            "num_averaged": None if self.average is None else self.average.n_averaged.cpu(),
            "sampler": self.sampler.state_dict(),
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "step": self.step,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where another training, built with the same arguments, stood."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self.average is not None:
            self.average.n_averaged.copy_(state["num_averaged"])
        self.sampler.load_state_dict(state["sampler"])
        torch.set_rng_state(state["generator"].cpu())
        if state["cuda_generators"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda_generators"]])
        self.step, self.seconds = state["step"], state["seconds"]


def warm_average(decay: float) -> Callable[..., None]:
    r"""An exponential average of weights that forgets its start.

    .. math:: \bar w \leftarrow \bar w + (1 - d_n) (w - \bar w), \qquad
        d_n = \min(d, \tfrac{1 + n}{10 + n})

    Args:
        decay: weight of the past in the long run, d.
    """

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num: Tensor | int) -> None:
        n = int(num)
        weight = 1 - min(decay, (1 + n) / (10 + n))
        for kept, new in zip(averaged, current, strict=True):
            kept.lerp_(new, weight)

    return update


def launch(options: FitOptions) -> Fabric:
    """The processes and devices of a run.

    Raises:
        UsageError: CUDA was asked for and there is none.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device here; use --device auto or cpu")
    precision: Any = {"32": "32-true", "bf16": "bf16-mixed"}[options.precision]
    fabric = Fabric(
        accelerator=options.device,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=precision,
        strategy="ddp_find_unused_parameters_true" if options.devices > 1 else "auto",
    )
    fabric.launch()
    return fabric


class _only:
    """While it lasts, only one phase's parameters ask for gradients."""

    def __init__(self, objective: nn.Module, phase: Phase, *, alone: bool) -> None:
        own = {id(p) for p in phase.parameters()} if not alone else set()
        self.others = [] if alone else [p for p in objective.parameters() if id(p) not in own]

    def __enter__(self) -> None:
        for parameter in self.others:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.others:
            parameter.requires_grad_(True)


class NonFiniteLoss(NonFiniteError):
    """A loss that is not finite, with the sites at fault and the batch that led to it."""

    def __init__(self, phase: Phase, loss: Loss, batch: Batch, step: int) -> None:
        self.batch = batch
        self.step = step
        self.sites = [name for name, term in loss.sites.items() if not torch.isfinite(term).all()]
        where = f"not finite at {', '.join(self.sites)}" if self.sites else "every site is finite"
        super().__init__(
            f"step {step}: the loss of phase '{phase.name}' is {float(loss.surrogate)}; {where}. "
            "Lower fit.lr, or look at the saved batch"
        )

    def kept(self, path: Path) -> NonFiniteLoss:
        """The same error, saying where the batch was saved."""
        self.args = (f"{self.args[0]}: {path}",)
        return self
