"""Progress on stderr: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyrodgm.display import number

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from pyrodgm.data.base import Splits
    from pyrodgm.evaluate.likelihood.validation import Validation
    from pyrodgm.setup.options import FitOptions
    from pyrodgm.train.loop import Progress
    from pyrodgm.train.recorder import Watcher

NAMES = {"elbo_nats_per_frame": "elbo"}  # short names of numbers that objectives report
LINE_EVERY = 10.0  # seconds between plain lines
REDRAW_EVERY = 0.1  # seconds between redraws of the bar


class _Display(ABC):
    """State of both displays: the options of the run, and the newest numbers."""

    def __init__(self, every: float) -> None:
        self.every = every
        self.options: FitOptions | None = None
        self._valid = ""
        self._first = (0, 0.0)
        self._last = 0.0

    def on_data(self, splits: Splits) -> None:
        """Print a summary of the data, and remarks on it."""
        from pyrodgm.data.remarks import remarks, summary

        self.say(summary(splits))
        for remark in remarks(splits):
            self.say(f"note: {remark}")

    def on_start(self, run: Path, options: FitOptions, first_step: int, seconds: float) -> None:
        """Print the run folder, and store the limits of training."""
        self.options = options
        self._valid = ""
        self._first = (first_step, seconds)
        most = [f"{options.steps} steps"] if options.steps else []
        most += [f"{options.time_limit:g} s"] if options.time_limit else []
        start = f" from step {first_step}" if first_step else ""
        starts = f"{options.restarts} x " if options.restarts > 1 else ""
        chunks = f" in chunks of {options.longest} frames" if options.longest else ""
        self.say(f"{run}: training{start}{chunks}, at most {starts}{', '.join(most)}")

    def on_progress(self, progress: Progress) -> None:
        """Show progress, unless it was shown very recently."""
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            self.show(progress)

    def on_evaluation(self, step: int, valid: Validation, best: bool) -> None:
        """Store a new validation score, and the numbers worth seeing; a star marks the best."""
        del step
        score = "" if valid.score is None else f"  valid {number(valid.score)}{' *' * best}"
        shown = (
            f"  {name.replace('_', ' ')} {number(valid.numbers[name])}"
            for name in valid.shown
            if name in valid.numbers
        )
        self._valid = "".join([score, *shown])

    def on_end(self, reason: str) -> None:
        """Print the reason for the end of training."""
        self.say(f"training ended: {reason}")

    def say(self, line: str) -> None:
        """Print a permanent line."""
        click.echo(line, err=True)

    @abstractmethod
    def show(self, progress: Progress) -> None:
        """Show the newest numbers."""

    def share(self, progress: Progress) -> float:
        """Share of the run that is done, by steps or by time, whichever is larger."""
        assert self.options is not None
        steps = self.options.restarts * (self.options.steps or 0)
        share = progress.step / steps if steps else 0.0
        if self.options.time_limit:
            share = max(share, progress.seconds / self.options.time_limit)
        return min(share, 1.0)

    def numbers(self, progress: Progress) -> str:
        """The headline of the objective, and the newest validation score."""
        name, shown = progress.headline, ""
        if name in progress.report:
            shown = f"  {NAMES.get(name, name)} {number(float(progress.report[name]))}"
        return f"step {progress.step}{shown}{self._valid}"

    def pace(self, progress: Progress) -> str:
        """Steps per second, and the remaining time without early stopping."""
        first_step, first_seconds = self._first
        rate = (progress.step - first_step) / max(progress.seconds - first_seconds, 1e-9)
        share = self.share(progress)
        left = int(progress.seconds * (1 - share) / max(share, 1e-9))
        return f"{rate:.1f} steps/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"


class _Lines(_Display):
    """One line every few seconds."""

    def __init__(self) -> None:
        super().__init__(LINE_EVERY)

    def show(self, progress: Progress) -> None:
        self.say(f"{self.numbers(progress)}  {self.pace(progress)}")


class _Terminal(_Display):
    """A bar with the current bounds, rate and time left."""

    def __init__(self, bar: Bar) -> None:
        super().__init__(REDRAW_EVERY)
        self._bar = bar

    def on_start(self, run: Path, options: FitOptions, first_step: int, seconds: float) -> None:
        super().on_start(run, options, first_step, seconds)
        self._task = self._bar.add_task("fit", total=1.0, numbers="", pace="")
        self._bar.start()

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        self._bar.update(
            self._task,
            completed=self.share(progress),
            numbers=self.numbers(progress),
            pace=self.pace(progress),
        )


@contextmanager
def watching() -> Iterator[Watcher]:
    """A display of training: a bar if stderr is a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[numbers]}"),
        TextColumn("{task.fields[pace]}", style="dim"),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        yield _Terminal(bar)
    finally:
        bar.stop()


@contextmanager
def showing_progress(*, quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A display of the progress of parts of some work: a bar in a terminal, lines elsewhere.

    Args:
        quiet: print nothing if stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield _nothing if quiet else _line_now_and_then()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = [BarColumn(bar_width=20), TextColumn("{task.percentage:>3.0f}%  {task.description}")]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda name, share: bar.update(task, description=name, completed=share)


def _nothing(name: str, share: float) -> None:
    del name, share


def _line_now_and_then() -> Callable[[str, float], None]:
    """A function that prints a line every few seconds, and none if the work is shorter."""
    last = time.monotonic()

    def show(name: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            click.echo(f"{name}: {100 * share:.0f} %", err=True)

    return show
