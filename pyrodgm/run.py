"""A run: fit it, keep it, load it again, ask it things."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pyrodgm import checkpoint
from pyrodgm.data.ahead import with_frames_to_come
from pyrodgm.data.base import Splits
from pyrodgm.errors import RunFolderError
from pyrodgm.evaluate.bounds import Bound, Estimator, bound, sequence_scores
from pyrodgm.evaluate.completing import LAG
from pyrodgm.evaluate.count_predictors import scores_totals
from pyrodgm.evaluate.floors import scores, trivial_predictors
from pyrodgm.evaluate.forecast import QUANTILES, Forecast, Start, forecast
from pyrodgm.evaluate.frame_errors import Prediction
from pyrodgm.evaluate.impute import Imputation, impute
from pyrodgm.evaluate.predict import predictions
from pyrodgm.evaluate.samples import sample
from pyrodgm.evaluate.states import States, states
from pyrodgm.evaluate.topics import Topic, topics
from pyrodgm.evaluate.word_scores import word_scores
from pyrodgm.evaluate.words import WordScore
from pyrodgm.files import access_in_words, read_records
from pyrodgm.folder import RunFolder
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.objectives import Objective
from pyrodgm.pieces import check_same_pieces, data_for, load_like, pieces, read_config
from pyrodgm.results import Results

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
        temporary: whether the folder goes when the run and its copies do.
        checkpoint: name of the one whose weights these are; the best of the folder by default.
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
        checkpoint: str | None = None,
    ) -> None:
        self.objective = objective.eval()
        self.splits = splits
        self.folder = folder
        self.steps = steps
        self.seconds = seconds
        self.checkpoint = folder.best().name if checkpoint is None else checkpoint
        self._is_main_process = is_main_process
        if temporary and is_main_process:
            folder.goes_with_its_users()

    @property
    def model(self) -> Model:
        """The model p."""
        return self.objective.model

    @property
    def guide(self) -> Guide:
        """The guide q."""
        return self.objective.guide

    @classmethod
    @access_in_words(RunFolderError)
    def load(
        cls,
        path: str | Path,
        splits: Splits | str | Path | None = None,
        *,
        objective: Objective | None = None,
    ) -> Run:
        """A run from its folder, with the weights that did best on validation.

        Args:
            path: the run folder.
            splits: other data for the same model, or its name or file, which is read as the run's
                own was; the run's own by default.
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
        if isinstance(splits, str | Path):
            splits = load_like(folder, splits)
        other = splits is not None
        objective, splits = pieces(folder, config, objective, splits)
        check_same_pieces(folder, objective)
        splits = data_for(folder, splits, other=other)
        best = folder.best()  # a training that goes on may find a better one
        checkpoint.read_weights(best, {"evaluated": objective})
        state = checkpoint.read_state(latest)
        done = {"steps": state["step"], "seconds": state["seconds"]}
        return cls(objective, splits, folder, checkpoint=best.name, **done)

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

    def scores(
        self,
        split: str = "test",
        *,
        particles: int = 1,
        estimator: Estimator = "auto",
        seed: int = 0,
    ) -> pd.DataFrame:
        """The bound of every sequence; see `pyrodgm.evaluate.bounds.sequence_scores`."""
        given: dict[str, Any] = {"particles": particles, "estimator": estimator, "seed": seed}
        return sequence_scores(self.model, self.guide, self.splits[split], **given)

    def states(self, split: str = "test") -> States:
        """The states of a hidden Markov model; see `pyrodgm.evaluate.states.states`."""
        return states(self.model, self.splits[split])

    def word_scores(self, split: str = "test", *, seed: int = 0) -> dict[str, WordScore]:
        """How well held-out tokens are predicted, beside trivial predictors; empty without them.

        See `pyrodgm.evaluate.word_scores.word_scores`.
        """
        return word_scores(self.model, self.guide, self.splits[split], seed=seed)

    def topics(
        self, split: str = "train", *, num: int = 10, num_words: int = 10, seed: int = 0
    ) -> list[Topic]:
        """The units that come and go with coherent words, the best first.

        See `pyrodgm.evaluate.topics.topics`.
        """
        given = {"num": num, "num_words": num_words, "seed": seed}
        return topics(self.model, self.guide, self.splits, split=split, **given)

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes and prints; False in all but one of several."""
        return self._is_main_process

    def results(self) -> Results:
        """One-sample bounds on validation and test beside the trivial predictors of the data."""
        predictors = trivial_predictors(self.splits, totals=scores_totals(self.model))
        return Results(
            run=str(self.folder.path),
            steps=self.steps,
            seconds=self.seconds,
            valid=self.evaluate("valid"),
            test=self.evaluate("test"),
            valid_floors=scores(predictors, self.splits.valid),
            test_floors=scores(predictors, self.splits.test),
        )

    @access_in_words(RunFolderError)
    def metrics(self) -> pd.DataFrame:
        """What training reported, one row per line of `metrics.jsonl`, in order of steps."""
        import pandas as pd  # slow to import

        return pd.DataFrame(read_records(self.folder.metrics))

    def to_datatree(self, split: str = "test", *, draws: int = 100, seed: int = 0) -> xr.DataTree:
        """Draws from the guide as an arviz tree; see `pyrodgm.evaluate.posterior.to_datatree`."""
        from pyrodgm.evaluate.posterior import to_datatree  # arviz is slow to import

        return to_datatree(self.model, self.guide, self.splits, split=split, draws=draws, seed=seed)

    def save(self, path: str | Path) -> None:
        """Copy the run folder; `load` reads it, given the objective if it was built in Python.

        Raises:
            RunFolderError: there is something at that path already, a process is training in the
                folder, or it cannot be copied; then nothing is at that path.
        """
        self.folder.copy_to(Path(path))

    def sample(
        self,
        num: int,
        length: int | None = None,
        *,
        prefix: int = 0,
        split: str = "test",
        conditions: np.ndarray | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """Ancestral draws from the model; see `pyrodgm.evaluate.samples.sample`."""
        given = {"prefix": prefix, "split": split, "conditions": conditions, "seed": seed}
        return sample(self.model, self.guide, self.splits, num=num, length=length, **given)

    def predict(
        self, split: str = "test", *, samples: int = 20, seed: int = 0, **options: Any
    ) -> dict[str, Prediction]:
        """One-step-ahead prediction beside trivial predictors, by method.

        See `pyrodgm.evaluate.predict.predictions`.
        """
        given = {"samples": samples, "seed": seed, **options}
        return predictions(self.model, self.guide, self.splits, split, **given)

    def forecast(
        self,
        horizon: int,
        split: str = "test",
        *,
        start: Start = None,
        samples: int = 100,
        quantiles: Sequence[float] = QUANTILES,
        conditions: np.ndarray | None = None,
        seed: int = 0,
    ) -> Forecast:
        """What comes after the first frames; see `pyrodgm.evaluate.forecast.forecast`.

        Args:
            horizon: frames to forecast, H.
            split: whose sequences.
            start: frames seen; all but the last H, or with conditions "end", if not given.
            samples: particles, and continuations of each sequence.
            quantiles: levels in [0, 1].
            conditions: of the H frames after the end of each of the N sequences, (N, H, U), or
                (H, U) for the same in all; those of frames in the data are known.
            seed: of the draws.
        """
        sequences, means = self.splits[split], self._grey
        if conditions is not None:
            sequences = with_frames_to_come(sequences, conditions, horizon)
            start = None if start == "end" else start
        given = {"start": start, "samples": samples, "quantiles": quantiles, "seed": seed}
        return forecast(self.model, self.guide, sequences, horizon=horizon, means=means, **given)

    def impute(
        self,
        split: str = "test",
        *,
        samples: int = 100,
        quantiles: Sequence[float] = QUANTILES,
        lag: int = LAG,
        seed: int = 0,
    ) -> Imputation:
        """What is missing, filled in; see `pyrodgm.evaluate.impute.impute`."""
        given = {"samples": samples, "quantiles": quantiles, "lag": lag, "seed": seed}
        return impute(self.model, self.guide, self.splits[split], means=self._grey, **given)

    @property
    def _grey(self) -> bool:
        """Whether observations are grey, so that a draw of one would be black or white."""
        return self.splits.info.kind == "unit"
