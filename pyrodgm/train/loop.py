"""The training loop: for each batch and each phase, a loss, its gradient, a step."""

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
from pyrodgm.carried import Before
from pyrodgm.data.base import Splits
from pyrodgm.data.loader import BatchSampler
from pyrodgm.engine.chunks import end_of
from pyrodgm.engine.frozen import frozen
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.models import FrameEnergyModel
from pyrodgm.objectives import Loss, Objective
from pyrodgm.objectives.state import OwnState, RowCache, Running
from pyrodgm.seeds import Stream
from pyrodgm.setup.dry_run import initialise
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.averaging import Average
from pyrodgm.train.chunks import Batches
from pyrodgm.train.finite import FiniteCheck
from pyrodgm.train.rates import SHAPES, FallingRates
from pyrodgm.train.turns import Stepping

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Progress:
    """Report of one training step.

    Args:
        step: steps done, counted from one.
        seconds: spent in training so far, across resumes.
        report: last numbers reported by the objective's phases, by name.
        headline: name of the number to display.
    """

    step: int
    seconds: float
    report: Mapping[str, Tensor]
    headline: str


class Training:
    """A training run in progress, with all state that a checkpoint needs to continue it exactly.

    Args:
        objective: the objective, on the CPU; it is moved to the chosen device.
        splits: the data.
        options: of training.
        fabric: processes and devices, from `launch`.
        restart: number of this restart, from zero.
        deferred: whether the check of finite numbers is deferred, see `FiniteCheck`; by default it
            is on CUDA.
    """

    def __init__(
        self,
        objective: Objective,
        splits: Splits,
        options: FitOptions,
        fabric: Fabric,
        *,
        restart: int = 0,
        deferred: bool | None = None,
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
        if fabric.world_size == 1 and options.precision == "32":
            self._module = objective  # its wrapper would do nothing, in a tenth of a small step
        for stepping, optimizer in zip(self.steppings, wrapped, strict=True):
            stepping.optimizer = optimizer
        self.finite = FiniteCheck(
            objective,
            self.optimizers,
            self._over_processes,
            device=fabric.device,
            deferred=fabric.device.type == "cuda" if deferred is None else deferred,
        )
        decays = options.lr_schedule == "plateau" and options.lr_decay < 1
        self.schedules = [_plateau(o, options) for o in self.optimizers] if decays else []
        falls = options.lr_schedule in SHAPES
        self.rates = FallingRates(self.optimizers, options.lr_schedule) if falls else None
        decay = options.averaging
        self.average = Average(evaluated(objective), decay) if decay else None
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
        self.batches = Batches(
            splits.training, self.sampler, fabric.device, options.longest, self._end_of
        )
        self.report: dict[str, Tensor] = {}
        self.step = self.first_step = 0
        self.seconds = self.first_seconds = 0.0

    def again(self, objective: Objective) -> Training:
        """The training of the next restart; it continues the counts of steps and seconds."""
        initialise(objective, self.options.start_from)
        objective.model.begin(self.splits, self.options.seed + 1)
        options = replace(self.options, seed=self.options.seed - self.restart)
        following = Training(objective, self.splits, options, self.fabric, restart=self.restart + 1)
        following.step = following.first_step = self.step
        following.seconds = following.first_seconds = self.seconds
        return following

    @property
    def lr(self) -> float:
        """The current learning rate of the first phase."""
        return self.optimizers[0].param_groups[0]["lr"]

    def steps(self) -> Iterator[Progress]:
        """Train, one step per iteration, until the limit of steps or time is reached.

        Raises:
            NonFiniteError: a loss or its gradient is not finite; the parameters are still those
                before the step. On CUDA it is raised up to one turn later.
        """
        self.objective.train()
        while (share := self._share()) < 1:
            if self.rates is not None:
                self.rates.set(share)
            start = time.perf_counter()
            with self.random.used():
                self._step()
            self.step += 1
            self.seconds += time.perf_counter() - start
            yield Progress(self.step, self.seconds, dict(self.report), self.objective.headline)
        self.settle()

    def settle(self) -> None:
        """Wait until all steps are checked; before anything is read of them or written.

        Raises:
            NonFiniteError: as in `steps`.
        """
        self.finite.settle()

    def _step(self) -> None:
        """Run the turns of all phases that are due."""
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
        return next(self.batches)

    def _end_of(self, chunk: Batch) -> Before:
        """What lies before the next chunk; of step programs, on a draw from the guide."""
        model, guide = self.objective.model, cast("Any", self.objective.guide)
        with self.fabric.autocast():
            if isinstance(model, FrameEnergyModel):
                return model.end(chunk)
            return end_of(cast("Any", model), guide, chunk)

    def _turn(self, stepping: Stepping, batch: Batch) -> Loss:
        """One phase on one batch: the gradient of its surrogate for its own parameters only."""
        with frozen(stepping.others):
            loss: Loss = self._module(batch, stepping.number)
            stepping.optimizer.zero_grad()
            self.fabric.backward(loss.surrogate * self._weight(batch))
            self.finite(stepping, loss, batch, self.step + 1)
            if stepping.options.clip_norm is not None:
                nn.utils.clip_grad_norm_(stepping.parameters, stepping.options.clip_norm)
            stepping.optimizer.step()
        if stepping.phase.after is not None:
            stepping.phase.after()
        return loss

    def _weight(self, batch: Batch) -> float:
        """Weight of a batch's mean, so that all sequences have equal weight over an epoch.

        Batches that were closed early hold fewer sequences. A chunk has the weight with which the
        sum over all chunks of a batch is that of the batch.
        """
        share = batch.size * self.fabric.world_size / self.batch_size
        whole = batch if self.options.longest is None else self.batches.whole or batch
        return share * whole.size / whole.num_frames if self.options.per_frame else share

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all processes must call it at the same point."""
        return self.largest(float(flag)) > 0

    def largest(self, value: float) -> float:
        """The largest value of all processes; all must call it at the same point."""
        if self.fabric.world_size == 1:
            return value
        mine = torch.tensor(value, dtype=torch.float64, device=self.fabric.device)
        return float(cast("Tensor", self.fabric.all_reduce(mine, reduce_op="max")))

    def _over_processes(self, number: Tensor) -> Tensor:
        """The sum of a number over all processes, in place; on CUDA the host does not wait."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(number)
        return number

    @property
    def own_steps(self) -> int:
        """Steps of this restart alone."""
        return self.step - self.first_step

    def _share(self) -> float:
        """The share of this restart that is done, by steps or by time; all processes agree."""
        most, limit = self.options.steps, self.options.time_limit
        steps = 0.0 if most is None else self.own_steps / most
        if limit is None:
            return steps
        own = (limit - self.first_seconds) / (self.options.restarts - self.restart)
        return max(steps, self.largest((self.seconds - self.first_seconds) / own) if own > 0 else 1)

    def _share_averages(self) -> None:
        """Replace every running average by its mean over all processes."""
        if self.fabric.world_size > 1:
            for running in self._running:
                self._over_processes(running.value).div_(self.fabric.world_size)

    def validate(self) -> Validation:
        """The validation score of the evaluated weights."""
        self.settle()
        trains = self.objective.training
        try:
            with self.average.used() if self.average else nullcontext():
                evaluated = self.objective.eval()
                return evaluated.validate(self.splits.valid, seed=self.options.seed)
        finally:
            self.objective.train(trains)

    def end_of_evaluation(self, valid: Validation) -> None:
        """Decay learning rates by the validation score, if there is one."""
        if valid.score is not None:
            for schedule in self.schedules:
                schedule.step(valid.score)

    def modules(self) -> dict[str, nn.Module]:
        """Modules with weights: the objective, and the averages of its model and guide."""
        averaged = {} if self.average is None else {"averaged": self.average.module}
        return {"objective": self.objective, **averaged}

    def state_dict(self) -> dict[str, Any]:
        """All state except weights: optimisers, generators, chains, rows, sampler, counters.

        All processes must call it at the same point, because each has its own generators.
        """
        self.settle()
        return {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [s.state_dict() for s in self.schedules],
            "num_averaged": None if self.average is None else self.average.count,
            "sampler": self.sampler.state_dict(),
            "chunk": self.batches.state_dict(),
            "generators": self._from_all(self.random.state_dict()),
            "own": self._from_all({name: part.own_state() for name, part in self._own.items()}),
            "report": self.report,
            "step": self.step,
            "seconds": self.seconds,
            "restart": self.restart,
            "first": {"step": self.first_step, "seconds": self.first_seconds},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of another training that was built with the same arguments."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for schedule, saved in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        if self.average is not None:
            self.average.count = int(state["num_averaged"])
        self.sampler.load_state_dict(state["sampler"])
        self.batches.load_state_dict(state.get("chunk"))  # runs of earlier versions have none
        self.random.load_state_dict(state["generators"][self.fabric.global_rank])
        own = cast("Any", self.fabric.to_device(state["own"][self.fabric.global_rank]))
        for name in self._own.keys() & own.keys():  # runs of earlier versions have fewer
            self._own[name].load_own_state(own[name])
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
    """A schedule that decays the learning rate on plateaus of the validation score."""
    return ReduceLROnPlateau(
        optimizer,
        "max",
        factor=options.lr_decay,
        patience=options.lr_patience,
        threshold=0.0,  # the default is relative, and accepts worse scores if they are negative
        threshold_mode="abs",
    )


def evaluated(objective: Objective) -> nn.ModuleDict:
    """The modules of an objective whose weights are averaged and evaluated, in one."""
    return nn.ModuleDict(objective.evaluated())
