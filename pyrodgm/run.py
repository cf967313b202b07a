"""A run: fit it, keep it, load it again, ask it things."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrodgm import checkpoint
from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, fit_options, merge, read_toml, resolve
from pyrodgm.data.base import Splits
from pyrodgm.errors import DataError, RunFolderError
from pyrodgm.evaluate.bounds import Bound, Estimator, bound
from pyrodgm.fit import Training, launch
from pyrodgm.folder import RunFolder, next_free, write_text
from pyrodgm.guides import Guide
from pyrodgm.models import Model, SequenceModel
from pyrodgm.objectives import Objective
from pyrodgm.recorder import Recorder, Watcher
from pyrodgm.seeds import forked
from pyrodgm.sequences import generate


class Run:
    """A fitted model and guide with their data, and the folder that holds them.

    Args:
        objective: with the weights that did best on validation.
        splits: the data.
        folder: where everything is.
        steps: training steps done.
        seconds: spent in training.
        temporary: the temporary directory behind the folder, if it is one.
    """

    def __init__(
        self,
        objective: Objective,
        splits: Splits,
        folder: RunFolder,
        *,
        steps: int = 0,
        seconds: float = 0.0,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.objective = objective.eval()
        self.splits = splits
        self.folder = folder
        self.steps = steps
        self.seconds = seconds
        self._temporary = temporary

    @property
    def model(self) -> Model:
        """The model p."""
        return self.objective.model

    @property
    def guide(self) -> Guide:
        """The guide q."""
        return self.objective.guide

    @classmethod
    def load(cls, path: str | Path, splits: Splits | None = None) -> Run:
        """A run from its folder, with the weights that did best on validation.

        Args:
            path: the run folder.
            splits: other data for the same model; the run's own by default.

        Raises:
            RunFolderError: no run folder, or one that was fitted from Python objects.
            DataError: the data has other dimensions than the run was fitted on.
        """
        folder = RunFolder.open(Path(path))
        config = read_config(folder)
        splits = splits or build_data(config)
        info = folder.data_info()
        if splits.info.dim != info.dim:
            raise DataError(
                f"the run {path} was fitted on '{info.name}' with {info.dim} features per frame, "
                f"and '{splits.info.name}' has {splits.info.dim}; give data of the same kind"
            )
        objective = build_objective(config, info)
        checkpoint.read_weights(folder.best(), {"evaluated": objective})
        state = checkpoint.read_state(folder.latest())
        return cls(objective, splits, folder, steps=state["step"], seconds=state["seconds"])

    def evaluate(
        self,
        split: str = "test",
        *,
        particles: int = 1,
        estimator: Estimator = "auto",
        seed: int = 0,
    ) -> Bound:
        """A bound on the log-likelihood of a split; see `pyrodgm.evaluate.bound`."""
        return bound(
            self.model,
            self.guide,
            self.splits[split],
            particles=particles,
            estimator=estimator,
            seed=seed,
        )

    def save(self, path: str | Path) -> None:
        """Copy the run folder.

        Raises:
            RunFolderError: there is something at that path already.
        """
        target = RunFolder.create(Path(path))
        shutil.copytree(self.folder.path, target.path, dirs_exist_ok=True)

    def sample(self, num: int, length: int | None = None, *, seed: int = 0) -> dict[str, Tensor]:
        """Ancestral draws from the model, every site (num, length, D).

        Args:
            num: how many sequences.
            length: frames of each; the mean training length by default.
            seed: of the draws.

        Raises:
            RunFolderError: the model has no generative recursion over time.
        """
        model = self.model
        if not isinstance(model, SequenceModel):
            raise RunFolderError(f"{type(model).__name__} is no sequence model")
        length = length or round(self.splits.info.mean_length)
        with forked(seed, "sample"):
            return generate(model, num, length, like=next(model.parameters()))


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
        options: fields of `pyrodgm.fit.FitOptions`, such as ``steps=2000``.

    Raises:
        ConfigError: an unknown option or a wrong value.
        NonFiniteError: training produced a number that is not finite.

    Reference: the loop is `pyrodgm.fit.Training`.
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


def read_config(folder: RunFolder, changes: dict[str, dict[str, Any]] | None = None) -> RunConfig:
    """The configuration of a run folder, with changes laid over it.

    Raises:
        RunFolderError: the run was fitted from Python objects and has none.
    """
    if not folder.config.is_file():
        raise RunFolderError(
            f"{folder.path} has no config.toml: it was fitted from Python objects; build the same "
            "objective and use pyrodgm.checkpoint.read_weights"
        )
    return resolve(merge(read_toml(folder.config), changes or {}))


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
        for own, kept in zip(
            training.objective.parameters(), objective.parameters(), strict=True
        ):
            own.copy_(kept)
    return Run(
        training.objective,
        splits,
        folder,
        steps=training.step,
        seconds=training.seconds,
        temporary=temporary,
    )
