"""Fitting Python objects or a configuration, and resuming a run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pyrodgm.access import access_in_words
from pyrodgm.arguments import as_path
from pyrodgm.data import DATASETS
from pyrodgm.data.base import Splits
from pyrodgm.data.local import content_sha256
from pyrodgm.errors import (
    DataError,
    DataWarning,
    PyrodgmError,
    RunFolderError,
    UsageError,
)
from pyrodgm.evaluate.likelihood.weights import has_bound
from pyrodgm.objectives import Objective
from pyrodgm.runs.changes import refuse_after_restarts, refuse_changes, warn_of_rates
from pyrodgm.runs.data import RunData
from pyrodgm.runs.loading import (
    check_same_pieces,
    full_config,
    is_own,
    located,
    made_objective,
    own_data,
    resolved,
)
from pyrodgm.runs.places import begun, folder_at, held, shared_path
from pyrodgm.runs.run import Run
from pyrodgm.runs.stored import keep_results, score_splits
from pyrodgm.seeds import seeded
from pyrodgm.setup.build import build_data, build_objective
from pyrodgm.setup.chunking import with_chunk
from pyrodgm.setup.config import RunConfig, fit_options, to_toml, with_defaults
from pyrodgm.setup.decay import with_decay
from pyrodgm.setup.dry_run import check_runs, initialise
from pyrodgm.setup.options import FitOptions
from pyrodgm.setup.settings import merge
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.devices import check_devices, is_first_process, launch
from pyrodgm.train.kept import read_kept, read_state
from pyrodgm.train.loop import Training
from pyrodgm.train.recorder import Recorder, Watcher

FORMER = {"fit": {"chunk": "whole", "decay_epochs": 0.0}}  # of folders from before they had names


@access_in_words(RunFolderError)
def fit(
    objective: Objective | Callable[[], Objective],
    splits: Splits,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    **options: Any,
) -> Run:
    """Train an objective on data and return the run, with the weights best on validation.

    Args:
        objective: built from a model and a guide; its parameters are trained in place. Or a
            function that builds one, called once per restart.
        splits: the data.
        out: run folder; by default a temporary one, which is deleted with the run (see `Run.save`)
            and kept if training fails.
        watcher: receives progress and evaluations.
        options: fields of `pyrodgm.setup.options.FitOptions`, such as ``steps=2000``; the others
            have the defaults of `fit_defaults` of the objective or the model, or of that class.

    Raises:
        ConfigError: an unknown option or a wrong value.
        UsageError: the arguments do not fit together; see `pyrodgm.setup.dry_run.check_runs`.
        RunFolderError: the folder is not empty.
        Interrupted: Ctrl-C; `resume` continues.
        NonFiniteError: training produced a number that is not finite.

    Reference: the loop is `pyrodgm.train.loop.Training`.
    """
    chosen = fit_options(options)
    check_devices(chosen)
    objective, fresh = _starts(objective, chosen)
    chosen = fit_options(with_defaults(getattr(objective, "model", None), objective, options))
    _check(objective, splits, chosen)
    splits, text = _identified(splits), to_toml({"fit": chosen.to_dict()})
    with begun(lambda: folder_at(out), text, chosen) as folder:
        made_here = out is None and folder is not None
        return _train(objective, splits, chosen, folder, watcher, fresh=fresh, temporary=made_here)


@access_in_words(RunFolderError)
def fit_config(config: RunConfig, out: Path | None = None, watcher: Watcher | None = None) -> Run:
    """Fit a configuration: load data, build model, guide and objective, train in a run folder.

    Args:
        config: the configuration.
        out: run folder; by default the next free one below ``runs/``.
        watcher: receives progress and evaluations.

    Raises:
        PyrodgmError: an error in the configuration, raised before anything is written.
    """
    check_devices(config.fit)
    if out is not None and is_first_process(config.fit):
        RunFolder.check_free(out)
    text = config.to_toml()
    splits = build_data(config)
    objective = build_objective(config, splits.info)
    _check(objective, splits, config.fit)
    stem = f"{Path(config.model.name).stem}-{Path(config.data.name).stem}"

    def make() -> RunFolder:
        return RunFolder.create(out) if out else RunFolder.create_next(Path("runs"), stem)

    with begun(make, text, config.fit) as folder:
        fresh = _built(config, splits)
        return _train(objective, splits, config.fit, folder, watcher, fresh=fresh)


@access_in_words(RunFolderError)
def resume(
    path: str | Path,
    *,
    objective: Objective | Callable[[], Objective] | None = None,
    splits: Splits | str | Path | None = None,
    watcher: Watcher | None = None,
    **changes: Any,
) -> Run:
    """Continue a run from its newest checkpoint, bit-equal to one that was never stopped.

    Args:
        path: the run folder.
        objective: the same as before, newly built, if the run was fitted from Python objects.
        splits: the same data, if the run was fitted from Python objects; or its file, if that has
            moved.
        watcher: receives progress and evaluations.
        changes: options to change: ``steps``, ``time_limit``, ``patience`` or ``device``.

    Raises:
        RunFolderError: no run folder, another process trains in it, classes differ, or a change is
            not allowed.
        DataError: the data has changed.
    """
    folder = RunFolder.open(as_path(path, "the run folder"))
    refuse_changes(changes)
    values = merge(FORMER, folder.values, {"fit": changes})
    config = resolved(folder, values)
    options = config.fit if config else fit_options(values["fit"])
    with held(folder, options):
        check_devices(options)
        refuse_after_restarts(changes, options)
        if objective is None:
            full_config(folder, config)
        splits, config = _data_again(folder, config, splits)
        fresh = None
        if objective is not None:
            objective, fresh = _starts(objective, options)
        info = folder.info if folder.environment.is_file() else splits.info
        objective = made_objective(folder, config, objective, info)
        if config is not None:
            fresh = _built(config, splits)
        if folder.environment.is_file():
            _check_same_data(folder, splits)
        if folder.has_checkpoint():
            check_same_pieces(folder, objective)
        check_runs(objective, splits, chunk=options.longest)
        warn_of_rates(folder.values.get("fit", {}), changes, options)
        text = config.to_toml() if config else to_toml(values)
        return _train(objective, splits, options, folder, watcher, fresh=fresh, text=text)


def _check(objective: Objective, splits: Splits, options: FitOptions) -> None:
    """Raise unless a new training can begin; see `check_runs`."""
    check_runs(
        objective,
        splits,
        restarts=options.restarts,
        chunk=options.longest,
        start_from=options.start_from,
    )


def _starts(
    objective: Objective | Callable[[], Objective], options: FitOptions
) -> tuple[Objective, Callable[[int], Objective] | None]:
    """The objective of the first training, and a function that builds those of restarts."""
    if isinstance(objective, Objective | type) or not callable(objective):
        if options.restarts > 1:
            raise UsageError(
                f"restarts is {options.restarts}, and every restart needs a new objective: give a "
                "function that builds one: def build(): model = HMM(info); "
                "return ML(model, NoGuide(model))"
            )
        return cast("Objective", objective), None  # check_runs refuses others

    def fresh(restart: int) -> Objective:
        with seeded(options.seed + restart):
            return objective()

    return fresh(0), fresh


def _built(config: RunConfig, splits: Splits) -> Callable[[int], Objective]:
    """A function that builds the objective of a restart from a configuration."""
    seed = config.fit.seed
    return lambda restart: build_objective(
        replace(config, fit=replace(config.fit, seed=seed + restart)), splits.info
    )


def _data_again(
    folder: RunFolder, config: RunConfig | None, splits: Splits | str | Path | None
) -> tuple[Splits, RunConfig | None]:
    """The data of a run, as given or from its original place, and its configuration.

    Raises:
        DataError: there is no such file, or it holds other data.
        MissingDataError: no data is given, and it is no longer at its place.
    """
    if isinstance(splits, str | Path):
        if str(splits) not in DATASETS and not Path(splits).expanduser().exists():
            raise DataError(f"there is no file '{splits}', and no such folder")
        found = located(folder, config, splits)
        if found is None:
            raise DataError(
                f"'{splits}' is not the data that {folder.path} was fitted on, whose sha256 is "
                f"{folder.made_with['data_sha256'] or 'unknown'}; start a new run"
            )
        splits, config = found
    elif splits is None:
        splits = own_data(folder, config)
    return splits if config else _identified(splits), config


def _identified(splits: Splits) -> Splits:
    """The same data, with a digest of its arrays if it was not read from a file."""
    if splits.sha256:
        return splits
    return replace(splits, sha256=content_sha256(splits.train, splits.valid, splits.test))


def _check_same_data(folder: RunFolder, splits: Splits) -> None:
    before = folder.made_with["data_sha256"]
    if splits.sha256 != before:
        raise DataError(
            f"the data of {folder.path} has changed since the run began (sha256 {before[:12]} "
            f"then, {splits.sha256[:12]} now); start a new run"
        )
    if not is_own(folder, splits):
        raise DataError(
            f"the data of {folder.path} has changed since the run began: it was split or read with "
            "other options; give the same splits, or start a new run"
        )


def _train(
    objective: Objective,
    splits: Splits,
    options: FitOptions,
    folder: RunFolder | None,
    watcher: Watcher | None,
    *,
    fresh: Callable[[int], Objective] | None,
    text: str | None = None,
    temporary: bool = False,
) -> Run:
    """Train to the end, from the newest checkpoint if there is one, and load the best weights.

    The first process locks the folder and sends its path to the others. A changed configuration is
    written after the checkpoint has been restored.
    """
    options = with_decay(with_chunk(options, objective, splits), splits.training)
    fabric = launch(options)
    kept = RunFolder(shared_path(fabric, folder))
    restart = None
    if kept.has_checkpoint():
        restart = read_state(kept.latest())["restart"]
    else:
        initialise(objective, options.start_from)
        objective.model.begin(splits, options.seed)
    training = Training(objective, splits, options, fabric, restart=restart or 0)
    recorder = Recorder(training, kept, watcher, fresh)
    if restart is None:
        recorder.start()
    else:
        recorder.restore()
    if text is not None and fabric.is_global_zero:
        recorder.folder.write_config(text)
    recorder.run()
    fabric.barrier()
    best = recorder.folder.best()
    read_kept(best, objective)
    run = Run(
        objective,
        RunData(recorder.folder, own=splits),
        steps=recorder.training.step,
        seconds=recorder.training.seconds,
        is_main_process=fabric.is_global_zero,
        temporary=temporary,
        checkpoint=best.name,
    )
    if run.is_main_process and has_bound(run.model, run.guide):
        _keep_results(run)
    return run


def _keep_results(run: Run) -> None:
    """Store the results of the fit; an error here must not lose the fit."""
    try:
        keep_results(run.folder, score_splits(run, run.trivial_bounds))
    except (PyrodgmError, RuntimeError, MemoryError) as error:
        warnings.warn(
            f"the results of {run.folder.path} were not stored, so showing them needs its data: "
            f"{error}",
            DataWarning,
            stacklevel=2,
        )
