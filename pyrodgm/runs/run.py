"""A run: a fitted model and guide, loaded from a run folder, saved and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrodgm.access import access_in_words
from pyrodgm.arguments import as_path
from pyrodgm.data.base import Splits
from pyrodgm.display import without_numbers
from pyrodgm.errors import MissingDataError, RunFolderError
from pyrodgm.evaluate.likelihood.validation import NOTHING, Validation
from pyrodgm.evaluate.likelihood.weights import has_bound
from pyrodgm.evaluate.prediction.samples import Sampler
from pyrodgm.objectives import AVB, Objective
from pyrodgm.runs.data import DataChoice, RunData
from pyrodgm.runs.evaluations import Evaluations
from pyrodgm.runs.loading import check_same_pieces, made_objective
from pyrodgm.runs.results import Results
from pyrodgm.runs.stored import HELD_OUT, score_splits, stored_results
from pyrodgm.storage.files import read_records
from pyrodgm.storage.folder import RunFolder
from pyrodgm.train.kept import read_kept, read_state

if TYPE_CHECKING:
    import pandas as pd


class Run(Evaluations):
    """A fitted model and guide with their data, and the folder that holds them.

    Args:
        objective: with the weights of the best validation score.
        data: the data of the fit, the data for evaluation, and the run folder.
        steps: training steps done.
        seconds: spent in training.
        is_main_process: False in all but one of several processes.
        temporary: whether the folder is deleted with the run and its copies.
        checkpoint: name of the checkpoint with these weights; by default the best of the folder.
    """

    def __init__(
        self,
        objective: Objective,
        data: RunData,
        *,
        steps: int = 0,
        seconds: float = 0.0,
        is_main_process: bool = True,
        temporary: bool = False,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__(objective.model, objective.guide, data)
        self.objective = objective.eval()
        self.folder = data.folder
        self.steps = steps
        self.seconds = seconds
        self.checkpoint = self.folder.best().name if checkpoint is None else checkpoint
        self._is_main_process = is_main_process
        if temporary and is_main_process:
            self.folder.delete_with_last_reference()

    @classmethod
    @access_in_words(RunFolderError)
    def load(
        cls,
        path: str | Path,
        splits: Splits | str | Path | None = None,
        *,
        objective: Objective | None = None,
    ) -> Run:
        """A run from its folder, with the weights of the best validation score.

        Args:
            path: the run folder.
            splits: other data for evaluation, as splits, a name or a file (see
                `pyrodgm.data.evaluation`); or the data of the fit at another place, recognised by
                its sha256. By default the data of the fit, read from its place when needed.
            objective: the fitted objective, newly built; its parameters are replaced. Needed if the
                run was fitted from Python objects.

        Raises:
            RunFolderError: no run folder, or the run was fitted from objects that were not given.
            DataError: the data does not match the data of the fit.
            CheckpointError: there is no checkpoint, it is damaged, or of another objective.
        """
        folder = RunFolder.open(as_path(path, "the run folder"))
        latest = folder.latest()
        data = RunData.of(folder, splits)
        objective = made_objective(folder, data.config, objective, folder.info)
        check_same_pieces(folder, objective)
        best = folder.best()  # a training in progress may find a better one later
        read_kept(best, objective)
        state = read_state(latest)
        done = {"steps": state["step"], "seconds": state["seconds"]}
        return cls(objective, data, checkpoint=best.name, **done)

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes and prints; False in all but one of several."""
        return self._is_main_process

    @property
    def samplers(self) -> Mapping[str, Sampler]:
        """Those of the objective by name; see `Objective.samplers`."""
        return self.objective.samplers()

    @cached_property
    def chosen_by(self) -> str:
        """Name of the validation score that chose the weights; see `Validation.by`."""
        evaluations = [record for record in read_records(self.folder.metrics) if "best" in record]
        return evaluations[-1]["chosen_by"] if evaluations else NOTHING

    @cached_property
    def training_warnings(self) -> list[tuple[int, str]]:
        """Warnings of the training: step and words, the last of those that differ in numbers."""
        last: dict[str, tuple[int, str]] = {}
        for record in read_records(self.folder.metrics):
            for words in record.get("warnings", ()):
                last[without_numbers(words)] = (record["step"], words)
        return sorted(last.values())

    def validation(self, split: DataChoice = None, *, seed: int = 0) -> Validation:
        """The validation score of the objective on any sequences; see `Objective.validate`.

        It replaces `evaluate` if model or guide has no density.
        """
        return self.objective.validate(self.sequences(split), seed=seed)

    def adversarial_estimate(self, split: DataChoice = None, *, seed: int = 0) -> float | None:
        """The critic's estimate of the bound, in nats per frame; None for other objectives.

        It is no bound, and may exceed the log-likelihood.
        """
        if not isinstance(self.objective, AVB):
            return None
        return self.objective.adversarial_estimate(self.sequences(split), seed=seed)

    def results(self) -> Results:
        """One-sample bounds on validation and test beside the trivial predictors of the data.

        If the data of the fit is missing, these are the stored results. Without a bound, these are
        the objective's own measures.
        """
        done: dict[str, Any] = {"run": str(self.folder.path), "chosen_by": self.chosen_by}
        done |= {"steps": self.steps, "seconds": self.seconds}
        if not has_bound(self.model, self.guide):
            numbers = {name: self.validation(name).numbers for name in HELD_OUT}
            trivial_bounds = {f"{name}_trivial": self.trivial_bounds(name) for name in HELD_OUT}
            return Results(valid=None, test=None, numbers=numbers, **trivial_bounds, **done)
        try:
            kept = score_splits(self, self.trivial_bounds)
        except MissingDataError:
            kept = stored_results(self.folder, self.info)
            if not kept:
                raise
        valid, test = kept["valid"], kept["test"]
        return Results(
            valid=valid.scored.bound(),
            test=test.scored.bound(),
            valid_trivial=valid.trivial_bounds,
            test_trivial=test.trivial_bounds,
            **done,
        )

    @access_in_words(RunFolderError)
    def metrics(self) -> pd.DataFrame:
        """The records of training, one row per line of `metrics.jsonl`, in order of steps."""
        import pandas as pd  # slow to import

        return pd.DataFrame(read_records(self.folder.metrics))

    def save(self, path: str | Path) -> None:
        """Copy the run folder; `load` reads it, given the objective if it was built in Python.

        Raises:
            RunFolderError: the path exists, a process is training in the folder, or it cannot be
                copied; then nothing is written.
        """
        self.folder.copy_to(Path(path))
