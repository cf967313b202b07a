"""A run: fit it, keep it, load it again, ask it things."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pyrodgm import checkpoint
from pyrodgm.build import build_data, build_objective
from pyrodgm.config import RunConfig, merge, read_toml, resolve
from pyrodgm.data.base import Splits
from pyrodgm.errors import DataError, RunFolderError
from pyrodgm.evaluate.bounds import Bound, Estimator, bound
from pyrodgm.evaluate.floors import floors
from pyrodgm.folder import RunFolder
from pyrodgm.guides import Guide
from pyrodgm.models import Model, SequenceModel
from pyrodgm.objectives import Objective
from pyrodgm.seeds import forked
from pyrodgm.sequences import generate


@dataclass(frozen=True)
class Results:
    """What a fit came to.

    Args:
        run: the run folder.
        steps: training steps done.
        seconds: spent in training.
        valid: bound on the validation split.
        test: bound on the test split.
        valid_floors: trivial predictors on the validation split.
        test_floors: trivial predictors on the test split.
    """

    run: str
    steps: int
    seconds: float
    valid: Bound
    test: Bound
    valid_floors: dict[str, Bound]
    test_floors: dict[str, Bound]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "run": self.run,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "valid": self.valid.to_dict(),
            "test": self.test.to_dict(),
            "floors": {
                "valid": {name: bound.to_dict() for name, bound in self.valid_floors.items()},
                "test": {name: bound.to_dict() for name, bound in self.test_floors.items()},
            },
        }


class Run:
    """A fitted model and guide with their data, and the folder that holds them.

    Args:
        objective: with the weights that did best on validation.
        splits: the data.
        folder: where everything is.
        steps: training steps done.
        seconds: spent in training.
        is_main_process: False in all but one of several processes.
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
        is_main_process: bool = True,
        temporary: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self.objective = objective.eval()
        self.splits = splits
        self.folder = folder
        self.steps = steps
        self.seconds = seconds
        self._is_main_process = is_main_process
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
