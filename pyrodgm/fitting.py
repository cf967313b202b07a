"""Fit something: Python objects, a configuration, or a run that was stopped."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from pyrodgm import checkpoint
from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, fit_options
from pyrodgm.data.base import Splits
from pyrodgm.errors import DataError, RunFolderError
from pyrodgm.folder import RunFolder, next_free, write_text
from pyrodgm.objectives import Objective
from pyrodgm.recorder import Recorder, Watcher
from pyrodgm.run import Run, read_config
from pyrodgm.training import Training, launch


def fit(
    objective: Objective,
    splits: Splits,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> Run:
    """Train an objective on data and return the run, with the weights best on validation.

    Args:
        objective: built from a model and a guide; its parameters are trained in place.
        splits: the data.
        out: run folder; a temporary one by default, see `Run.save`.
        watcher: told of progress and evaluations.
        options: fields of `pyrodgm.training.FitOptions`, such as ``steps=2000``.

    Raises:
        ConfigError: an unknown option or a wrong value.
        NonFiniteError: training produced a number that is not finite.

    Reference: the loop is `pyrodgm.training.Training`.
    """
    chosen = fit_options(options)
    fabric = launch(chosen)
    temporary = tempfile.TemporaryDirectory(prefix="pyrodgm-") if out is None else None
    folder = RunFolder.create(Path(temporary.name if temporary else str(out)))
    training = Training(objective, splits, chosen, fabric)
    recorder = Recorder(training, folder, watcher)
    recorder.start()
    return _finish(recorder, splits, temporary)


def fit_config(config: RunConfig, out: Path | None = None, watcher: Watcher | None = None) -> Run:
    """Everything of one configuration: data, model, guide, objective, training, folder.

    Args:
        config: what to do.
        out: run folder; by default the next free one below ``runs/``.
        watcher: told of progress and evaluations.

    Raises:
        PyrodgmError: whatever is wrong, before anything is written.
    """
    fabric = launch(config.fit)
    if out is None:
        stem = f"{Path(config.model.name).stem}-{Path(config.data.name).stem}"
        out = next_free(Path("runs"), stem.replace(":", "-"))
    out = Path(fabric.broadcast(str(out)))
    if fabric.is_global_zero:
        RunFolder.check_free(out)
    splits = build_data(config)
    objective = build_objective(config, splits.info)
    training = Training(objective, splits, config.fit, fabric)
    folder = RunFolder.create(out) if fabric.is_global_zero else RunFolder(out)
    if fabric.is_global_zero:
        write_text(folder.config, config.to_toml())
    recorder = Recorder(training, folder, watcher)
    recorder.start()
    return _finish(recorder, splits)


def resume(path: Path, changes: dict[str, Any], watcher: Watcher | None = None) -> Run:
    """Continue a run from its newest checkpoint, bit-equal to one that was never stopped.

    Args:
        path: the run folder.
        changes: fit options to change, at most ``steps``, ``time_limit`` and ``patience``.
        watcher: told of progress and evaluations.

    Raises:
        RunFolderError: no run folder, or a change that would make it another run.
        DataError: the data is no longer what it was.
    """
    folder = RunFolder.open(path)
    for key in changes.keys() - {"steps", "time_limit", "patience"}:
        raise RunFolderError(
            f"fit.{key} cannot change when a run is resumed, it would be another run; "
            "only steps, time_limit and patience can"
        )
    config = read_config(folder, {"fit": changes})
    fabric = launch(config.fit)
    splits = build_data(config)
    if splits.sha256 != (before := folder.read_environment()["data_sha256"]):
        raise DataError(
            f"the data of {path} has changed since the run began (sha256 {before[:12]}... then, "
            f"{splits.sha256[:12]}... now); start a new run"
        )
    training = Training(build_objective(config, splits.info), splits, config.fit, fabric)
    recorder = Recorder(training, folder, watcher)
    recorder.restore()
    if fabric.is_global_zero:
        write_text(folder.config, config.to_toml())
    return _finish(recorder, splits)


def _finish(
    recorder: Recorder,
    splits: Splits,
    temporary: tempfile.TemporaryDirectory[str] | None = None,
) -> Run:
    """Train to the end, then take the weights that did best."""
    recorder.run()
    training, folder = recorder.training, recorder.folder
    training.fabric.barrier()
    checkpoint.read_weights(folder.best(), {"evaluated": training.evaluated})
    objective = training.evaluated
    with torch.no_grad():
        for own, kept in zip(training.objective.parameters(), objective.parameters(), strict=True):
            own.copy_(kept)
    return Run(
        training.objective,
        splits,
        folder,
        steps=training.step,
        seconds=training.seconds,
        is_main_process=training.fabric.is_global_zero,
        temporary=temporary,
    )
