"""A run: fit it, keep it, load it again, ask it things."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from pyrodgm import checkpoint
from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, resolve
from pyrodgm.data.base import DataInfo, Splits
from pyrodgm.errors import DataError, RunFolderError, UsageError
from pyrodgm.evaluate.bounds import Bound, Estimator, bound
from pyrodgm.evaluate.floors import floors
from pyrodgm.folder import RunFolder
from pyrodgm.guides import Guide
from pyrodgm.models import Model, SequenceModel
from pyrodgm.objectives import Objective
from pyrodgm.results import Results
from pyrodgm.seeds import forked
from pyrodgm.sequences import generate
from pyrodgm.settings import read_toml

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Run:
    """A fitted model and guide with their data, and the folder that holds them.

    Args:
        objective: with the weights that did best on validation.
        splits: the data.
        folder: where everything is.
        steps: training steps done.
        seconds: spent in training.
        is_main_process: False in all but one of several processes.
        temporary: whether the folder goes when the run does.
    """

    def __init__(
        self,
        objective: Objective,
        splits: Splits,
        folder: RunFolder,
        *,
        steps: int = 0,
        seconds: float = 0.0,
        is_main_process: bool = True,
        temporary: bool = False,
    ) -> None:
        self.objective = objective.eval()
        self.splits = splits
        self.folder = folder
        self.steps = steps
        self.seconds = seconds
        self._is_main_process = is_main_process
        if temporary and is_main_process:
            weakref.finalize(self, shutil.rmtree, folder.path, ignore_errors=True)

    @property
    def model(self) -> Model:
        """The model p."""
        return self.objective.model

    @property
    def guide(self) -> Guide:
        """The guide q."""
        return self.objective.guide

    @classmethod
    def load(
        cls,
        path: str | Path,
        splits: Splits | None = None,
        *,
        objective: Objective | None = None,
    ) -> Run:
        """A run from its folder, with the weights that did best on validation.

        Args:
            path: the run folder.
            splits: other data for the same model; the run's own by default.
            objective: the same as was fitted, freshly built; its parameters are replaced. Needed,
                with the data, where the run was fitted from Python objects.

        Raises:
            RunFolderError: no run folder, or objects are missing that only you can build.
            DataError: the data is not of the kind that the run was fitted on.
            CheckpointError: there is no checkpoint, it is damaged, or of another objective.
        """
        folder = RunFolder.open(Path(path))
        config = read_config(folder)
        latest = folder.latest()
        objective, splits = pieces(folder, config, objective, splits)
        _check_kind(folder, splits.info)
        checkpoint.read_weights(folder.best(), {"evaluated": objective})
        state = checkpoint.read_state(latest)
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

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes and prints; False in all but one of several."""
        return self._is_main_process

    def results(self) -> Results:
        """One-sample bounds on validation and test beside the trivial predictors of the data."""
        return Results(
            run=str(self.folder.path),
            steps=self.steps,
            seconds=self.seconds,
            valid=self.evaluate("valid"),
            test=self.evaluate("test"),
            valid_floors=floors(self.splits, "valid"),
            test_floors=floors(self.splits, "test"),
        )

    def metrics(self) -> pd.DataFrame:
        """What training reported, one row per line of `metrics.jsonl`, in order of steps."""
        import pandas as pd  # slow to import

        return pd.read_json(self.folder.metrics, lines=True)

    def to_datatree(self, split: str = "test", *, draws: int = 100, seed: int = 0) -> xr.DataTree:
        """Draws from the guide as an arviz tree; see `pyrodgm.evaluate.posterior.to_datatree`."""
        from pyrodgm.evaluate.posterior import to_datatree  # arviz is slow to import

        return to_datatree(self.model, self.guide, self.splits, split=split, draws=draws, seed=seed)

    def save(self, path: str | Path) -> None:
        """Copy the run folder; `load` reads it, given the objective if it was built in Python.

        Raises:
            RunFolderError: there is something at that path already, or it cannot be written.
        """
        target = RunFolder.create(Path(path))
        try:
            shutil.copytree(self.folder.path, target.path, dirs_exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"cannot copy {self.folder.path} to {path}: {error}") from error

    def sample(self, num: int, length: int | None = None, *, seed: int = 0) -> dict[str, Tensor]:
        """Ancestral draws from the model, every site (num, length, D).

        Grey observations in [0,1] are their mean given the latents, not black or white.

        Args:
            num: how many sequences.
            length: frames of each; the mean training length by default.
            seed: of the draws.

        Raises:
            UsageError: nothing to draw, or the model has no generative recursion over time.
        """
        model = self.model
        if not isinstance(model, SequenceModel):
            raise UsageError(f"{type(model).__name__} is no sequence model")
        length = round(self.splits.info.mean_length) if length is None else length
        if num < 1 or length < 1:
            raise UsageError(f"cannot draw {num} sequences of {length} frames; give at least 1")
        with forked(seed, "sample"):
            like, means = next(model.parameters()), self.splits.info.kind == "unit"
            return generate(model, num, length, like, means=means)


def read_config(folder: RunFolder) -> RunConfig | None:
    """The configuration of a run folder; None where it was fitted from Python objects."""
    values = read_toml(folder.config)
    return resolve(values) if "model" in values else None


def pieces(
    folder: RunFolder,
    config: RunConfig | None,
    objective: Objective | None,
    splits: Splits | None,
) -> tuple[Objective, Splits]:
    """Objective and data of a run: as given, else built from its configuration.

    Raises:
        RunFolderError: the run has no full configuration, and not both are given.
    """
    if config is None and (objective is None or splits is None):
        raise RunFolderError(
            f"{folder.path} was fitted from Python objects; load it in Python and give them again: "
            f"Run.load('{folder.path}', objective=..., splits=...)"
        )
    if splits is None:
        splits = build_data(cast("RunConfig", config))
    if objective is None:
        info = folder.data_info() if folder.environment.is_file() else splits.info
        objective = build_objective(cast("RunConfig", config), info)
    return objective, splits


def _check_kind(folder: RunFolder, other: DataInfo) -> None:
    info = folder.data_info()
    if other.dim != info.dim:
        raise DataError(
            f"the run {folder.path} was fitted on '{info.name}' with {info.dim} features per "
            f"frame, and '{other.name}' has {other.dim}; give data of the same kind"
        )
    if other.kind == "real" and info.kind != "real":
        raise DataError(
            f"the run {folder.path} was fitted on {info.kind} data in [0,1], and '{other.name}' "
            "has values outside; rescale it into [0,1] or binarise it"
        )
