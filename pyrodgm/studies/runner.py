"""All runs of a study, several at the same time; finished runs are not repeated."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from pyrodgm.access import access_in_words
from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Splits
from pyrodgm.display import counted, number
from pyrodgm.errors import Interrupted, PyrodgmError, UsageError
from pyrodgm.setup.build import build_data, build_objective
from pyrodgm.setup.dry_run import check_runs
from pyrodgm.storage.files import alone
from pyrodgm.storage.folder import RunFolder
from pyrodgm.studies.outcome import FAILURE, RUN, Outcome, evaluations, kept
from pyrodgm.studies.reading import Candidate, Plan, check_one_dataset, plan_of, read_plan
from pyrodgm.studies.summary import Study
from pyrodgm.studies.worker import Job, work

Say = Callable[[str], None]
WAYS = ("forkserver", "spawn")  # of starting a process, the first that there is
PRELOADED = ["pyrodgm.runs.finishing", "lightning_fabric"]  # once for all processes; slow


@access_in_words(UsageError)
def study(
    plan: str | Path | dict[str, Any],
    *,
    out: str | Path | None = None,
    processes: int | None = None,
    say: Say = lambda _: None,
) -> Study:
    """Compare models, guides and objectives on one dataset, over seeds.

    Runs are trained in processes of their own, several at the same time. A second call with the
    same folder keeps finished runs and continues the others. A run that fails does not end the
    study; its message is in the outcome. As with everything that starts processes, a script calls
    it below ``if __name__ == "__main__":``.

    Args:
        plan: a TOML file, or its content; see docs/studies.md.
        out: folder of all runs and results; by default ``studies/`` and the name of the file.
        processes: runs at the same time; by default those of the plan, or one per core or device.
        say: called with messages.

    Raises:
        ConfigError: a mistake in the plan, found before anything is trained.
        UsageError: a candidate does not fit the data, or the folder holds other runs.
        DataError: the data cannot be read.
        Interrupted: Ctrl-C; the same call continues.
    """
    if processes is not None:
        check_whole(processes=processes)
    if isinstance(plan, dict):
        chosen, stem = plan_of(plan, "the study"), "study"
    else:
        chosen, stem = read_plan(Path(plan)), Path(plan).stem
    check_one_dataset(chosen)
    folder = Path(out) if out else Path("studies") / stem
    jobs, done = _jobs(chosen, folder)
    _check(chosen, jobs, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        if done:
            say(f"{counted(len(done), 'run')} of {len(jobs) + len(done)} finished before")
        most = processes or chosen.processes or _default_processes()
        found = done + _Pool(min(most, max(len(jobs), 1)), say, len(done)).run(jobs)
    order = {candidate.name: place for place, candidate in enumerate(chosen.candidates)}
    found.sort(key=lambda each: (order[each.candidate], each.seed))
    curves = {
        (each.candidate, each.seed): evaluations(folder / slug / f"seed-{each.seed}" / RUN)
        for each in found
        for slug in (chosen.candidates[order[each.candidate]].slug,)
    }
    result = Study(folder, tuple(found), curves)
    result.write()
    return result


def _jobs(plan: Plan, folder: Path) -> tuple[list[Job], list[Outcome]]:
    """The runs to finish, seed by seed, and the outcomes of those that are finished."""
    jobs, done = [], []
    for seed in plan.seeds:
        for candidate in plan.candidates:
            place = folder / candidate.slug / f"seed-{seed}"
            job = Job(candidate.name, seed, candidate.seeded(seed), place, plan.scoring)
            if outcome := _outcome(job):
                done.append(outcome)
            else:
                jobs.append(job)
    return jobs, done


def _outcome(job: Job) -> Outcome | None:
    """The outcome of a run that is trained and evaluated; None if it is not."""
    config = Candidate(job.candidate, job.values).config(job.seed)
    outcome = kept(job.place, config)
    if outcome is None or job.scoring is None:
        return outcome
    return job.scoring.applied(outcome, job.place)


def _check(plan: Plan, jobs: list[Job], folder: Path) -> None:
    """Try every candidate that is not finished on the data, before anything is trained.

    Raises:
        UsageError: one does not fit, and the message names it; or runs of the folder are on other
            data.
    """
    waiting = {job.candidate for job in jobs}
    splits = None
    for candidate in plan.candidates:
        if candidate.name not in waiting:
            continue
        config = candidate.config(plan.seeds[0])
        if splits is None:
            splits = build_data(config)
            _check_same_data(folder, splits)
        try:
            objective = build_objective(config, splits.info)
            check_runs(
                objective, splits, chunk=config.fit.longest, start_from=config.fit.start_from
            )
            if plan.scoring is not None:
                plan.scoring.check(objective.model, objective.guide)
        except PyrodgmError as error:
            error.args = (f"candidate '{candidate.name}': {error}",)
            raise


def _check_same_data(folder: Path, splits: Splits) -> None:
    """Raise where a run of a study was trained on other data."""
    for environment in sorted(folder.glob(f"*/seed-*/{RUN}/environment.json")):
        place = environment.parent
        before = RunFolder(place).made_with["data_sha256"]
        if splits.sha256 and before != splits.sha256:
            raise UsageError(
                f"the data has changed since {place} was trained (sha256 {before[:12]} then, "
                f"{splits.sha256[:12]} now); give the study another folder (--out)"
            )


class _Pool:
    """Processes that each train one run.

    Args:
        size: runs at the same time.
        say: called with messages.
        done: number of runs that are finished.
    """

    def __init__(self, size: int, say: Say, done: int) -> None:
        ways = multiprocessing.get_all_start_methods()
        self.context: Any = multiprocessing.get_context(next(way for way in WAYS if way in ways))
        self.context.set_forkserver_preload(PRELOADED)
        self.say, self.done = say, done
        self.threads = max(1, _cores() // size)
        self.free = deque(range(size))
        self.running: dict[int, tuple[Job, Any]] = {}
        self.devices = _devices()

    def run(self, jobs: list[Job]) -> list[Outcome]:
        """The outcomes of all runs.

        Raises:
            Interrupted: Ctrl-C, after all runs have written a checkpoint.
        """
        waiting, found, total = deque(jobs), [], len(jobs) + self.done
        try:
            while waiting or self.running:
                while waiting and self.free:
                    self._start(waiting.popleft())
                wait([process.sentinel for _, process in self.running.values()])
                for slot, (job, process) in list(self.running.items()):
                    if not process.is_alive():
                        found.append(self._collect(slot, job, process))
                        self.done += 1
                        self.say(f"{self.done} of {total}: {_in_words(job, found[-1])}")
        except KeyboardInterrupt:
            raise Interrupted("stopped; the same command continues the study") from None
        finally:
            self._stop()
        return found

    def _start(self, job: Job) -> None:
        slot = self.free.popleft()
        job.place.mkdir(parents=True, exist_ok=True)
        (job.place / FAILURE).unlink(missing_ok=True)
        device = self.devices[slot % len(self.devices)] if self.devices else None
        process = self.context.Process(target=work, args=(job, self.threads, device))
        process.start()
        self.running[slot] = job, process

    def _collect(self, slot: int, job: Job, process: Any) -> Outcome:
        """The outcome of a run whose process has ended."""
        process.join()
        del self.running[slot]
        self.free.append(slot)
        if outcome := _outcome(job):
            return outcome
        if (job.place / FAILURE).is_file():
            values = json.loads((job.place / FAILURE).read_text(encoding="utf-8"))
            return Outcome(job.candidate, job.seed, **values)
        reason = f"its process ended with exit code {process.exitcode}; see {job.place / 'log.txt'}"
        return Outcome(job.candidate, job.seed, failure=reason, code=1)

    def _stop(self) -> None:
        """End the processes that are left, each after a checkpoint."""
        for _, process in self.running.values():
            process.terminate()
        for _, process in self.running.values():
            process.join()


def _in_words(job: Job, outcome: Outcome) -> str:
    if outcome.failure:
        return f"{job.title} failed: {outcome.failure}"
    score = "" if outcome.score is None else f" {number(outcome.score)} ({outcome.by}),"
    return f"{job.title}:{score} {counted(outcome.steps, 'step')} in {outcome.seconds:.0f} s"


def _default_processes() -> int:
    return len(_devices()) or _cores()


def _cores() -> int:
    """Cores that this process may use; fewer if OMP_NUM_THREADS says so."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(here or 1, int(given)) if given.isdigit() and int(given) else here or 1


def _devices() -> list[str]:
    """CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [str(number) for number in range(torch.cuda.device_count())]
    return visible.split(",")[: len(found)] if visible else found
