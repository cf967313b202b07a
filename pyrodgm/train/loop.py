"""The one training loop: for each batch, for each phase, a loss, its gradient, a step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pyrodgm.batch import Batch
from pyrodgm.data.base import Splits
from pyrodgm.data.loader import BatchSampler
from pyrodgm.engine.frozen import frozen
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.objectives import Loss, Objective
from pyrodgm.objectives.state import OwnState, RowCache, Running
from pyrodgm.seeds import Stream
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.averaging import Average
from pyrodgm.train.nonfinite import NonFiniteLoss
from pyrodgm.train.turns import Stepping

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Progress:
    """What one step of training reports.

    Args:
        step: steps done, counted from one.
        seconds: spent in training so far, across resumes.
        report: what the objective's phases reported last, by name.
        headline: which of these numbers stands for all.
    """

    step: int
    seconds: float
    report: Mapping[str, Tensor]
    headline: str


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
        with self.random.used():
            objective.begin(splits.training)
        self.steppings = Stepping.all_of(objective, options)
        self.optimizers = [stepping.optimizer for stepping in self.steppings]
        self._module, *wrapped = cast("Any", fabric.setup(objective, *self.optimizers))
        for stepping, optimizer in zip(self.steppings, wrapped, strict=True):
            stepping.optimizer = optimizer
        decays = options.lr_decay < 1
        self.schedules = [_plateau(o, options) for o in self.optimizers] if decays else []
        self.average = Average(pair_of(objective), options.averaging) if options.averaging else None
        parts = dict(objective.named_modules())
        self._running = [part for part in parts.values() if isinstance(part, Running)]
        self._own = {name: part for name, part in parts.items() if isinstance(part, OwnState)}
        self.batch_size = min(options.batch_size, max(len(splits.training), self.fabric.world_size))
        self.sampler = BatchSampler(
            splits.training.lengths,
            self.batch_size,
            self.options.seed,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            owned=any(isinstance(part, RowCache) for part in self._own.values()),
        )
        self.report: dict[str, Tensor] = {}
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
                self._step()
            self.step += 1
            self.seconds += time.perf_counter() - start
            yield Progress(self.step, self.seconds, dict(self.report), self.objective.headline)

    def _step(self) -> None:
        """The turns of all phases that are due."""
        shared: Batch | None = None
        for stepping in self.steppings:
            if not stepping.is_due(self.own_steps + 1):
                continue
            for _ in range(stepping.phase.repeats):
                if stepping.phase.fresh:
                    batch = self._next_batch()
                else:
                    batch = shared = shared or self._next_batch()
                self.report |= self._turn(stepping, batch).report
        self._share_averages()
        if self.average is not None:
            self.average.update()

    def _next_batch(self) -> Batch:
        return self.splits.training.batch(next(self.sampler)).to(self.fabric.device)

    def _turn(self, stepping: Stepping, batch: Batch) -> Loss:
        """One phase on one batch: the gradient of its surrogate for its own parameters only."""
        with frozen(stepping.others):
            loss: Loss = self._module(batch, stepping.number)
            stepping.optimizer.zero_grad()
            self.fabric.backward(loss.surrogate * self._weight(batch))
            self._check_finite(stepping, loss, batch)
            if stepping.options.clip_norm is not None:
                nn.utils.clip_grad_norm_(stepping.phase.parameters(), stepping.options.clip_norm)
            stepping.optimizer.step()
        if stepping.phase.after is not None:
            stepping.phase.after()
        return loss

    def _weight(self, batch: Batch) -> float:
        """Of a batch's mean over sequences, so that all sequences count alike over an epoch.

        Batches of sequences that differ in length are closed early and hold fewer of them.
        """
        share = batch.size * self.fabric.world_size / self.batch_size
        return share * batch.size / batch.num_frames if self.options.per_frame else share

    def _check_finite(self, stepping: Stepping, loss: Loss, batch: Batch) -> None:
        """Look at the loss and at every number of its gradient, in one go."""
        phase = stepping.phase
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

    def _share_averages(self) -> None:
        """One value of every running average for all processes, the mean of theirs."""
        if self.fabric.world_size > 1:
            for running in self._running:
                mean = self.fabric.all_reduce(running.value, reduce_op="mean")
                running.value.copy_(cast("Tensor", mean))

    def validate(self) -> Validation:
        """What the weights to keep come to on validation."""
        trains = self.objective.training
        try:
            with self.average.used() if self.average else nullcontext():
                evaluated = self.objective.eval()
                return evaluated.validate(self.splits.valid, seed=self.options.seed)
        finally:
            self.objective.train(trains)

    def end_of_evaluation(self, valid: Validation) -> None:
        """Let the learning rates follow the validation score, where there is one."""
        if valid.score is not None:
            for schedule in self.schedules:
                schedule.step(valid.score)

    def modules(self) -> dict[str, nn.Module]:
        """What has weights: the objective, and the averages of its model and its guide."""
        averaged = {} if self.average is None else {"averaged": self.average.module}
        return {"objective": self.objective, **averaged}

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights: optimisers, generators, chains, rows, sampler, counters.

        All processes must ask at the same point, since every one has generators of its own.
        """
        return {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [s.state_dict() for s in self.schedules],
            "num_averaged": None if self.average is None else self.average.count.cpu(),
            "sampler": self.sampler.state_dict(),
            "generators": self._from_all(self.random.state_dict()),
            "own": self._from_all({name: part.own_state() for name, part in self._own.items()}),
            "report": self.report,
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
            self.average.count.copy_(state["num_averaged"])
        self.sampler.load_state_dict(state["sampler"])
        self.random.load_state_dict(state["generators"][self.fabric.global_rank])
        own = cast("Any", self.fabric.to_device(state["own"][self.fabric.global_rank]))
        for name, part in self._own.items():
            part.load_own_state(own[name])
        self.report = state["report"]
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


def pair_of(objective: Objective) -> nn.ModuleDict:
    """Model and guide together, whose weights are averaged and evaluated."""
    return nn.ModuleDict({"model": objective.model, "guide": objective.guide})
