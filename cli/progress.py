"""What training shows on stderr: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from pyrodgm.evaluate.bounds import Bound
    from pyrodgm.recorder import Watcher
    from pyrodgm.training import FitOptions, Progress

LINE_EVERY = 10.0  # seconds between plain lines
REDRAW_EVERY = 0.1  # seconds between redraws of the bar


class _Display:
    """State both displays share: the options of the run, and the newest numbers."""

    def __init__(self) -> None:
        self.valid = ""
        self.options: FitOptions | None = None
        self._first: tuple[int, float] | None = None

    def on_start(self, options: FitOptions, first_step: int, seconds: float) -> None:
        """Remember how far there is to go."""
        self.options = options
        self._first = (first_step, seconds)

    def note(self, step: int, valid: Bound, best: bool) -> str:
        """Text for a new validation score."""
        star = " *" if best else ""
        self.valid = f"valid {valid.nats_per_frame:.3f}{star}"
        return f"step {step}: valid {valid.nats_per_frame:.4f} nats/frame{star}"

    def share(self, progress: Progress) -> float:
        """How much of the run is done, by steps or by time, whichever is further."""
        assert self.options is not None
        share = progress.step / self.options.steps
        if self.options.time_limit:
            share = max(share, progress.seconds / self.options.time_limit)
        return min(share, 1.0)

    def rate(self, progress: Progress) -> float:
        """Steps per second since this process began to train."""
        first_step, first_seconds = self._first or (0, 0.0)
        return (progress.step - first_step) / max(progress.seconds - first_seconds, 1e-9)

    def eta(self, progress: Progress) -> str:
        """Time that is left if nothing stops the run early."""
        share = self.share(progress)
        left = int(progress.seconds * (1 - share) / max(share, 1e-9))
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"


def _numbers(progress: Progress) -> str:
    names = {"elbo_nats_per_frame": "elbo"}
    return "  ".join(f"{names.get(k, k)} {float(v):.3f}" for k, v in progress.report.items())


class _Lines(_Display):
    """One line every few seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()

    def on_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            click.echo(
                f"step {progress.step}  {_numbers(progress)}  {self.valid}  "
                f"{self.rate(progress):.1f} steps/s  at most {self.eta(progress)} left",
                err=True,
            )

    def on_evaluation(self, step: int, valid: Bound, best: bool) -> None:
        self.note(step, valid, best)


class _Terminal(_Display):
    """A bar with rate, time left, and the current bounds."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("fit", total=1.0, text="starting", rate="")
        self._last = 0.0

    def on_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= REDRAW_EVERY:
            self._last = now
            self._bar.update(
                self._task,
                completed=self.share(progress),
                text=f"step {progress.step}  {_numbers(progress)}  {self.valid}",
                rate=f"{self.rate(progress):.1f} steps/s  {self.eta(progress)} left",
            )

    def on_evaluation(self, step: int, valid: Bound, best: bool) -> None:
        self.note(step, valid, best)


@contextmanager
def watching() -> Iterator[Watcher]:
    """The display that fits where stderr goes, for as long as training lasts."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[text]}"),
        TextColumn("{task.fields[rate]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Terminal(bar)
