"""One run of a study, in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path

from pyrodgm.errors import Interrupted, PyrodgmError, RunFolderError
from pyrodgm.runs.run import Run
from pyrodgm.setup.config import RunConfig, resolve
from pyrodgm.storage.files import alone, replacing
from pyrodgm.storage.toml import Values
from pyrodgm.studies.outcome import FAILURE, LOG, RUN, Outcome, keep, kept
from pyrodgm.studies.scoring import Scoring

PATIENCE = 60.0  # seconds in which a run of a killed study writes its checkpoint and ends


@dataclass(frozen=True)
class Job:
    """One run to finish.

    Args:
        candidate: name of the candidate.
        seed: of the run.
        values: of its configuration.
        place: its folder.
        scoring: how it is evaluated after training; None for what the fit itself reports.
    """

    candidate: str
    seed: int
    values: Values
    place: Path
    scoring: Scoring | None = None

    @property
    def title(self) -> str:
        """The run in messages."""
        return f"{self.candidate}, seed {self.seed}"


def work(job: Job, threads: int, device: str | None) -> None:
    """Finish a run and store its outcome, or why there is none.

    Args:
        job: the run.
        threads: of torch.
        device: value of CUDA_VISIBLE_DEVICES; None leaves it.
    """
    _apart(job.place / LOG)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    import torch

    torch.set_num_threads(threads)
    try:
        _finish(job)
    except Interrupted:
        raise SystemExit(Interrupted.exit_code) from None
    except PyrodgmError as error:
        _fail(job.place, str(error), error.exit_code)
    except Exception as error:
        _fail(job.place, f"{type(error).__name__}: {error} (see {job.place / LOG})", 1)
        raise


def _finish(job: Job) -> None:
    config, folder = resolve(job.values), job.place / RUN
    run = Run.load(folder) if kept(job.place, config) else _trained(job, config, folder)
    if job.scoring is not None:
        job.scoring.store(job.place, run)


def _trained(job: Job, config: RunConfig, folder: Path) -> Run:
    """The run, trained or continued, after its outcome is stored."""
    from pyrodgm.runs.finishing import finished

    _wait_for(folder)
    if folder.is_dir() and not (folder / "config.toml").is_file():
        shutil.rmtree(folder)  # it was stopped before anything was written
    run = finished(config, folder)
    keep(job.place, config, Outcome.of(job.candidate, job.seed, run))
    return run


def _fail(place: Path, message: str, code: int) -> None:
    with replacing(place / FAILURE) as unfinished:
        unfinished.write_text(json.dumps({"failure": message, "code": code}), encoding="utf-8")


def _apart(log: Path) -> None:
    """Write to a log, do not receive Ctrl-C of the terminal, and stop if the study is killed."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(target, stream)
    if hasattr(os, "setsid"):
        os.setsid()
    study = parent_process()
    if study is not None:
        threading.Thread(target=_stop_after, args=(study,), daemon=True).start()


def _stop_after(study: object) -> None:
    """Ask this process for a checkpoint and its end, once the study has ended."""
    study.join()  # pyright: ignore[reportAttributeAccessIssue]
    os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(folder: Path) -> None:
    """Wait until a run of a killed study has written its checkpoint."""
    until = time.monotonic() + PATIENCE
    while folder.is_dir() and time.monotonic() < until:
        try:
            with alone(folder):
                return
        except RunFolderError:
            time.sleep(0.1)
