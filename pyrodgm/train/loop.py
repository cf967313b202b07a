"""The one training loop: for each batch, for each phase, a loss, its gradient, a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from pyrodgm.batch import Batch
from pyrodgm.data.base import Splits
from pyrodgm.data.loader import BatchSampler
from pyrodgm.objectives import Loss, Objective, Phase
from pyrodgm.seeds import Stream
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.nonfinite import NonFiniteLoss
from pyrodgm.train.optimisers import make_optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Progress:
    """What one step of training reports.

    Args:
        step: steps done, counted from one.
        seconds: spent in training so far, across resumes.
        report: what the objective's phases reported, by name.
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
        restart: which of several trainings from different starts this is, from zero.
    """

    def __init__(
        self,
        objective: Objective,
        splits: Splits,
        options: FitOptions,
        fabric: Fabric,
        *,
        restart: int = 0,
    ) -> None:
        self.options = replace(options, seed=options.seed + restart)
        self.restart = restart
        self.splits = splits
        self.objective = objective
        self.fabric = fabric
        self.random = Stream(self.options.seed + fabric.global_rank, fabric.device)
        self.optimizers = [
            make_optimizer(phase.parameters(), options) for phase in objective.phases
        ]
        self._module, *optimizers = self._setup(objective)
        self._stepping = list(zip(objective.phases, optimizers, strict=True))
        decays = options.lr_decay < 1
        self.schedules = [_plateau(o, options) for o in self.optimizers] if decays else []
        self.average = None
        if options.averaging:
            update = warm_average(options.averaging)
            self.average = AveragedModel(objective, multi_avg_fn=update).eval()
        self.batch_size = min(options.batch_size, max(len(splits.training), self.fabric.world_size))
        self.sampler = BatchSampler(
            splits.training.lengths,
            self.batch_size,
            self.options.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
        )
        self.step = self.first_step = 0
        self.seconds = self.first_seconds = 0.0

    def again(self, objective: Objective) -> Training:
        """The next training, of another start, which counts steps and seconds on."""
        objective.model.begin(self.splits, self.options.seed + 1)
        options = replace(self.options, seed=self.options.seed - self.restart)
        following = Training(objective, self.splits, options, self.fabric, restart=self.restart + 1)
        following.step = following.first_step = self.step
        following.seconds = following.first_seconds = self.seconds
        return following

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
            NonFiniteError: a loss or its gradient is not finite; the parameters are still those
                before the step.
        """
        self.objective.train()
        while not self._is_over():
            start = time.perf_counter()
            with self.random.used():
                report = self._step()
            self.step += 1
            self.seconds += time.perf_counter() - start
            yield Progress(self.step, self.seconds, report)

    def _step(self) -> dict[str, Tensor]:
        """All phases on one batch; what they report."""
        batch = self.splits.training.batch(next(self.sampler)).to(self.fabric.device)
        report: dict[str, Tensor] = {}
        for number, (phase, optimizer) in enumerate(self._stepping):
            for _ in range(phase.repeats):
                report |= self._turn(number, phase, optimizer, batch).report
        self._share_buffers()
        if self.average is not None:
            self.average.update_parameters(self.objective)
        return report

    def _turn(self, number: int, phase: Phase, optimizer: Any, batch: Batch) -> Loss:
        """One phase on one batch: the gradient of its surrogate for its own parameters only."""
        with _only(self.objective, phase, alone=len(self._stepping) == 1):
            loss: Loss = self._module(batch, number)
            optimizer.zero_grad()
            self.fabric.backward(loss.surrogate * self._weight(batch))
            self._check_finite(phase, loss, batch)
            if self.options.clip_norm is not None:
                nn.utils.clip_grad_norm_(phase.parameters(), self.options.clip_norm)
            optimizer.step()
        if phase.after is not None:
            phase.after()
        return loss

    def _weight(self, batch: Batch) -> float:
        """Of a batch's mean over sequences, so that all sequences count alike over an epoch.

        Batches of sequences that differ in length are closed early and hold fewer of them.
        """
        share = batch.size * self.fabric.world_size / self.batch_size
        return share * batch.size / batch.num_frames if self.options.per_frame else share

    def _check_finite(self, phase: Phase, loss: Loss, batch: Batch) -> None:
        """Look at the loss and at every number of its gradient, in one go."""
        # A sum is not finite as soon as one term is not, and costs least.
        sums = [p.grad.sum() for p in phase.parameters() if p.grad is not None]
        finite = bool(torch.isfinite(torch.stack([loss.surrogate.detach(), *sums]).sum()))
        if self.any_process(not finite):
            raise NonFiniteLoss(self.objective, phase, loss, batch, self.step + 1)

    def any_process(self, flag: bool) -> bool:
        """Whether any of the processes says so; all must ask at the same point."""
        if self.fabric.world_size == 1:
            return flag
        mine = torch.tensor(float(flag), device=self.fabric.device)
        return bool(cast("Tensor", self.fabric.all_reduce(mine, reduce_op="sum")) > 0)

    @property
    def own_steps(self) -> int:
        """Steps of this start alone."""
        return self.step - self.first_step

    def _is_over(self) -> bool:
        if self.own_steps >= self.options.steps:
            return True
        limit = self.options.time_limit
        if limit is None:
            return False
        share = (limit - self.first_seconds) / (self.options.restarts - self.restart)
        return self.any_process(self.seconds >= self.first_seconds + share)

    def _share_buffers(self) -> None:
        """One value of every running average for all processes, the mean of theirs."""
        if self.fabric.world_size > 1:
            for buffer in self.objective.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(cast("Tensor", self.fabric.all_reduce(buffer, reduce_op="mean")))

    def end_of_evaluation(self, score: float) -> None:
        """Let the learning rate follow the validation score."""
        for schedule in self.schedules:
            schedule.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimisers, schedules, generators, sampler, counters.

        All processes must ask at the same point, since every one has generators of its own.
        """
        return {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [s.state_dict() for s in self.schedules],
            "num_averaged": None if self.average is None else self.average.n_averaged.cpu(),
            "sampler": self.sampler.state_dict(),
            "generators": self._from_all(self.random.state_dict()),
            "step": self.step,
            "seconds": self.seconds,
            "restart": self.restart,
            "first": {"step": self.first_step, "seconds": self.first_seconds},
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
        self.random.load_state_dict(state["generators"][self.fabric.global_rank])
        self.step, self.seconds = state["step"], state["seconds"]
        self.first_step, self.first_seconds = state["first"]["step"], state["first"]["seconds"]

    def _from_all(self, value: Any) -> list[Any]:
        """The value of every process, by rank."""
        if self.fabric.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.fabric.world_size
        torch.distributed.all_gather_object(values, value)
        return values


def _plateau(optimizer: torch.optim.Optimizer, options: FitOptions) -> ReduceLROnPlateau:
    """Lets the learning rate decay where validation no longer rises."""
    return ReduceLROnPlateau(
        optimizer,
        "max",
        factor=options.lr_decay,
        patience=options.lr_patience,
        threshold=0.0,  # whose default is relative, and of negative scores takes worse ones
        threshold_mode="abs",
    )


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


class _only:
    """While it lasts, only one phase's parameters ask for gradients."""

    def __init__(self, objective: nn.Module, phase: Phase, *, alone: bool) -> None:
        own = set() if alone else {id(p) for p in phase.parameters()}
        self.others = [
            p for p in objective.parameters() if not alone and p.requires_grad and id(p) not in own
        ]

    def __enter__(self) -> None:
        for parameter in self.others:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.others:
            parameter.requires_grad_(True)
