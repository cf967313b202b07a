"""Evaluation, selection, checkpoints, records and early stopping around the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pyrodgm.data.base import Splits
from pyrodgm.data.remarks import warn_of
from pyrodgm.errors import Interrupted, NonFiniteError
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.evaluate.trivial.stored import keep_trivial
from pyrodgm.objectives import Objective
from pyrodgm.setup.options import FitOptions
from pyrodgm.setup.userfile import described
from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.interrupts import deferred_interrupts
from pyrodgm.train.kept import read_state, read_weights
from pyrodgm.train.loop import Progress, Training
from pyrodgm.train.nonfinite import NonFiniteLoss, one_word_of_numbers
from pyrodgm.train.warned import noted

RECORD_EVERY = 50  # steps between lines of metrics.jsonl
CHECKPOINT_EVERY = 300.0  # seconds of training between checkpoints, at most


class Watcher(Protocol):
    """A receiver of training events, such as a progress bar or a notebook."""

    def on_data(self, splits: Splits) -> None:
        """Called first, with the data."""

    def on_start(self, run: Path, options: FitOptions, first_step: int, seconds: float) -> None:
        """Called before the first step, with the steps and seconds of an earlier session."""

    def on_progress(self, progress: Progress) -> None:
        """Called after every step."""

    def on_evaluation(self, step: int, valid: Validation, best: bool) -> None:
        """Called after every evaluation on validation."""

    def on_end(self, reason: str) -> None:
        """Called at the end of training, with its reason."""


@dataclass
class Selection:
    """The best checkpoint so far, and the evaluations since the last improvement of this restart.

    Args:
        score: the best validation score; without scores, the last checkpoint is best.
        step: step of the best checkpoint.
        leading: the best score of this restart.
        since: evaluations since then.
    """

    score: float = -float("inf")
    step: int = 0
    leading: float = -float("inf")
    since: int = 0

    def prefers(self, valid: Validation) -> bool:
        """Whether these weights are better than all earlier ones."""
        return valid.score is None or valid.score > self.score

    def update(self, valid: Validation, step: int) -> bool:
        """Add an evaluation; True if it is the best of all."""
        best = self.prefers(valid)
        if valid.score is not None:
            self.since = 0 if valid.score > self.leading else self.since + 1
            self.leading = max(self.leading, valid.score)
            self.score = max(self.score, valid.score)
        if best:
            self.step = step
        return best

    def begin_again(self) -> None:
        """Reset the count of evaluations for the next restart."""
        self.leading, self.since = -float("inf"), 0


class Recorder:
    """Runs a training to its end and records it in its folder.

    Args:
        training: the training.
        folder: its run folder.
        watcher: receives progress and evaluations.
        fresh: builds the objective of a restart, given its number; needed for several restarts.
    """

    def __init__(
        self,
        training: Training,
        folder: RunFolder,
        watcher: Watcher | None = None,
        fresh: Callable[[int], Objective] | None = None,
    ) -> None:
        self.training = training
        self.fresh = fresh
        self.folder = folder
        self.writes = training.fabric.is_global_zero
        self.watcher = watcher if self.writes else None
        self.selection = Selection()
        self._saved_step: int | None = None
        self._saved_seconds = 0.0

    def start(self) -> None:
        """Record the environment of the run, before its first step."""
        if self.writes:
            training = self.training
            made_of = described(training.objective)
            self.folder.write_environment(training.splits, str(training.fabric.device), made_of)
            keep_trivial(self.folder, training.splits, training.objective.model)
            self.folder.truncate_metrics(0)  # left by a session that was killed early

    def restore(self) -> None:
        """Restore the state of the newest checkpoint."""
        newest = self.folder.latest()
        state = read_state(newest)
        read_weights(newest, self.training.modules())
        self.training.load_state_dict(state)
        self.selection = Selection(**state["selection"])
        if not self.folder.checkpoint(self.selection.step).is_dir():
            self.selection = Selection()  # the best checkpoint was removed: start a new selection
        self._saved_step, self._saved_seconds = self.training.step, self.training.seconds
        if not self.writes:
            return
        self.folder.truncate_metrics(self.training.step)
        # A kill may have happened between a checkpoint and its mark as best.
        if self.selection.step:
            self.folder.mark_best(self.selection.step)

    def run(self) -> None:
        """Train until the limit of steps, time or patience is reached.

        Raises:
            NonFiniteError: a loss was not finite; the batch is in the run folder.
            Interrupted: by a signal; a checkpoint was written first.
        """
        training = self.training
        self._announce_data()
        if self.watcher is not None:
            self.watcher.on_start(
                self.folder.path, training.options, training.step, training.seconds
            )
        with deferred_interrupts() as interrupted, one_word_of_numbers():
            try:
                self._train_all(interrupted)
            except NonFiniteLoss as error:
                process = training.fabric.global_rank
                raise error.kept(self.folder.save_batch(error.batch, error.step, process)) from None
            except torch.linalg.LinAlgError as error:
                raise NonFiniteError(
                    f"step {training.step + 1}: {error}. Lower fit.lr; earlier checkpoints are "
                    "intact"
                ) from error
            if self.watcher is not None:
                self.watcher.on_end(self._reason())
            if self.training.any_process(interrupted()):
                raise Interrupted(f"training has ended; it is complete in {self.folder.path}")

    def _train_all(self, interrupted: Callable[[], bool]) -> None:
        """Train all restarts, one after the other; the best checkpoint of all is kept."""
        while True:
            self._train(interrupted)
            valid, step = self._end(), self.training.step
            following = self.training.restart + 1
            if self.fresh is None or following >= self.training.options.restarts:
                return
            if self.training.any_process(interrupted()):
                raise Interrupted(f"stopped after step {step}; {self.folder.how_to_resume()}")
            if valid is not None:
                self.selection.update(valid, step)
            self.selection.begin_again()
            objective = self.fresh(following)
            self.training = self.training.again(objective)

    def _announce_data(self) -> None:
        """Report remarks on the data before training, by a warning if there is no watcher."""
        if self.watcher is not None:
            self.watcher.on_data(self.training.splits)
        elif self.writes:
            warn_of(self.training.splits)

    def _train(self, interrupted: Callable[[], bool]) -> None:
        if self._is_out_of_patience():
            return
        for progress in self.training.steps():
            self._after_step(progress)
            if self.training.any_process(interrupted()):
                self._checkpoint()
                raise Interrupted(
                    f"stopped after step {progress.step}; {self.folder.how_to_resume()}"
                )
            if self._is_out_of_patience():
                return

    def _reason(self) -> str:
        """The reason why training ended."""
        training, options = self.training, self.training.options
        if options.steps is not None and training.own_steps >= options.steps:
            return f"step {training.own_steps} of at most {options.steps}"
        if self._is_out_of_patience():
            return f"no improvement in {self.selection.since} evaluations (fit.patience)"
        return f"{training.seconds:.0f} s of at most {options.time_limit:g}"

    def _is_out_of_patience(self) -> bool:
        return self.selection.since >= self.training.options.waits

    def _after_step(self, progress: Progress) -> None:
        if self.watcher is not None:
            self.watcher.on_progress(progress)
        if progress.step % RECORD_EVERY == 0:
            self.training.settle()
            numbers = {key: float(value) for key, value in progress.report.items()}
            if self.writes:
                self._record(lr=self.training.lr, **numbers)
        if self.training.own_steps % self.training.options.evaluate_every == 0:
            with noted() as words:
                valid = self._evaluate()
                best = self.selection.update(valid, progress.step)
                self.training.end_of_evaluation(valid)
            # Recorded first: lines after the newest checkpoint are removed and written again.
            self._report(valid, best, words)
            self._checkpoint(best=best)
        elif self.training.any_process(self._is_long_ago()):
            self._checkpoint()

    def _is_long_ago(self) -> bool:
        return self.training.seconds - self._saved_seconds >= CHECKPOINT_EVERY

    def _end(self) -> Validation | None:
        """Evaluate and keep the last weights too, without changing the state for resuming.

        Returns:
            The validation of the last weights; None if they were evaluated already.
        """
        if self.training.own_steps % self.training.options.evaluate_every == 0:
            return None
        with noted() as words:
            valid = self._evaluate()
        best = self.selection.prefers(valid)
        if not self.folder.has_evaluation(self.training.step):
            self._report(valid, best, words)
        self._checkpoint()
        if best and self.writes:
            self.folder.mark_best(self.training.step)
        return valid

    def _evaluate(self) -> Validation:
        training, start = self.training, time.perf_counter()
        training.settle()
        try:
            valid = training.validate()
        except NonFiniteError as error:
            raise NonFiniteError(
                f"step {training.step}: {error}; lower fit.lr. Earlier checkpoints are intact"
            ) from None
        training.seconds += time.perf_counter() - start
        # One score for all processes, so that they select and stop together.
        return training.fabric.broadcast(valid)

    def _report(self, valid: Validation, best: bool, words: Sequence[str]) -> None:
        if self.writes:
            numbers = {f"valid_{key}": value for key, value in valid.numbers.items()}
            warned = {"warnings": list(words)} if words else {}
            self._record(**numbers, score=valid.score, chosen_by=valid.by, best=best, **warned)
        if self.watcher is not None:
            self.watcher.on_evaluation(self.training.step, valid, best)

    def _record(self, **values: Any) -> None:
        training = self.training
        start = {"restart": training.restart} if training.options.restarts > 1 else {}
        seconds = round(training.seconds, 3)
        self.folder.append_metrics({"step": training.step, "seconds": seconds, **start, **values})

    def _checkpoint(self, *, best: bool = False) -> None:
        """Write a checkpoint; all processes take part, the first one writes."""
        step = self.training.step
        if step == self._saved_step:
            return
        state = {**self.training.state_dict(), "selection": asdict(self.selection)}
        if self.writes:
            checkpoint.write(self.folder.checkpoint(step), self.training.modules(), state)
            if best:
                self.folder.mark_best(step)
            self.folder.prune()
        self._saved_step, self._saved_seconds = step, self.training.seconds
        self.training.fabric.barrier()
