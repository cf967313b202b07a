"""What can a fitted model and guide be asked, about their own data and about other data?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pyrodgm.data.ahead import with_frames_to_come
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.evaluation import Data
from pyrodgm.errors import MissingDataError
from pyrodgm.evaluate.latents.states import States, states
from pyrodgm.evaluate.likelihood.bounds import Bound, Estimator, bound, sequence_scores
from pyrodgm.evaluate.likelihood.compare import Scored, score
from pyrodgm.evaluate.likelihood.energy import EnergyLikelihood, energy_likelihood
from pyrodgm.evaluate.prediction.completing_filter import LAG
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.forecast import Forecast, Start, forecast
from pyrodgm.evaluate.prediction.impute import Imputation, impute
from pyrodgm.evaluate.prediction.one_step import autoregressive_order, predictions
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.evaluate.words.predictors import word_scores
from pyrodgm.evaluate.words.scores import WordScore
from pyrodgm.evaluate.words.topics import Topic, topics
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.runs.data import Asked, RunData
from pyrodgm.runs.stored import stored_results

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Questions:
    """A fitted model and guide, and data to ask them about.

    Every question takes the name of a split, by default "test", or data of one's own: one sequence
    (T, D), several of one length (N, T, D), a list of sequences, or `Sequences`; see
    `pyrodgm.data.evaluation.given_data`.

    Args:
        model: the model p.
        guide: the guide q.
        data: what they were fitted on, and what they are asked about.
    """

    def __init__(self, model: Model, guide: Guide, data: RunData) -> None:
        self.model = model
        self.guide = guide
        self.data = data

    @property
    def splits(self) -> Data:
        """What the run is asked about, by name: the data that it was fitted on, or other data.

        Raises:
            MissingDataError: that data is not where it was.
        """
        return self.data.splits

    @property
    def info(self) -> DataInfo:
        """The facts of the data that the run was fitted on."""
        return self.data.info

    def sequences(self, asked: Asked = None) -> Sequences:
        """The sequences that are meant by the name of a split, or by data of one's own."""
        data, name = self.data.asked(asked)
        return data[name]

    def evaluate(
        self,
        split: Asked = None,
        *,
        particles: int = 1,
        estimator: Estimator = "auto",
        seed: int = 0,
    ) -> Bound:
        """A bound on the log-likelihood of sequences; see `pyrodgm.evaluate.likelihood`."""
        return bound(
            self.model,
            self.guide,
            self.sequences(split),
            particles=particles,
            estimator=estimator,
            seed=seed,
        )

    def scores(
        self,
        split: Asked = None,
        *,
        particles: int = 1,
        estimator: Estimator = "auto",
        seed: int = 0,
    ) -> pd.DataFrame:
        """The bound of every sequence; see `pyrodgm.evaluate.likelihood.bounds.sequence_scores`."""
        given: dict[str, Any] = {"particles": particles, "estimator": estimator, "seed": seed}
        return sequence_scores(self.model, self.guide, self.sequences(split), **given)

    def energy_likelihood(
        self, split: Asked = None, *, seed: int = 0, **options: Any
    ) -> EnergyLikelihood:
        """The log-likelihood of an energy model between two bounds, or exactly.

        See `pyrodgm.evaluate.likelihood.energy.energy_likelihood`, whose options are taken.
        """
        return energy_likelihood(self.model, self.sequences(split), seed=seed, **options)

    def states(self, split: Asked = None) -> States:
        """The states of a hidden Markov model; see `pyrodgm.evaluate.latents.states.states`."""
        return states(self.model, self.sequences(split))

    def trivial_bounds(self, split: Asked = None) -> dict[str, Bound]:
        """Trivial predictors of the run's training data; see `pyrodgm.evaluate.trivial`."""
        return self.data.trivial_bounds(*self.data.asked(split), totals=scores_totals(self.model))

    def word_scores(self, split: Asked = None, *, seed: int = 0) -> dict[str, WordScore]:
        """How well held-out tokens are predicted, beside trivial predictors; empty without them.

        See `pyrodgm.evaluate.words.predictors.word_scores`.
        """
        return word_scores(self.model, self.guide, self.sequences(split), seed=seed)

    def topics(
        self, split: Asked = None, *, num: int = 10, num_words: int = 10, seed: int = 0
    ) -> list[Topic]:
        """The units that come and go with coherent words, the best first; of "train" by default.

        See `pyrodgm.evaluate.words.topics.topics`.
        """
        given = {"num": num, "num_words": num_words, "seed": seed}
        data, name = self.data.asked(split, "train")
        return topics(self.model, self.guide, data, split=name, **given)

    def scored(self, split: Asked = None, *, particles: int = 1, seed: int = 0) -> Scored:
        """Bounds for `pyrodgm.evaluate.likelihood.compare.ranked`.

        Those that the fit ended with, where its data is not where it was.
        """
        try:
            data, name = self.data.asked(split)
        except MissingDataError:
            if not isinstance(split, str | None) or (particles, seed) != (1, 0):
                raise
            kept = stored_results(self.data.folder, self.info)
            if (name := split or "test") not in kept:
                raise
            return kept[name].scored
        return score(self.model, self.guide, data, name, particles=particles, seed=seed)

    def to_datatree(self, split: Asked = None, *, draws: int = 100, seed: int = 0) -> xr.DataTree:
        """Draws from the guide as an arviz tree; see `pyrodgm.evaluate.posterior`."""
        from pyrodgm.evaluate.posterior.datatree import to_datatree  # arviz is slow to import

        data, name = self.data.asked(split)
        return to_datatree(self.model, self.guide, data, split=name, draws=draws, seed=seed)

    def sample(
        self,
        num: int,
        length: int | None = None,
        *,
        prefix: int = 0,
        split: Asked = None,
        conditions: np.ndarray | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """Ancestral draws from the model; see `pyrodgm.evaluate.prediction.samples.sample`."""
        needed = prefix or (self.info.num_conditions and conditions is None)
        sequences = self.sequences(split) if needed else None
        given = {"prefix": prefix, "conditions": conditions, "seed": seed}
        return sample(self.model, self.guide, self.info, sequences, num=num, length=length, **given)

    def predict(
        self, split: Asked = None, *, samples: int = 20, seed: int = 0, **options: Any
    ) -> dict[str, Prediction]:
        """One-step-ahead prediction beside trivial predictors, by method.

        See `pyrodgm.evaluate.prediction.one_step.predictions`.
        """
        data, name = self.data.asked(split)
        trivial = self.data.baselines(data, autoregressive_order(self.model))
        given = {"samples": samples, "seed": seed, **options}
        return predictions(self.model, self.guide, data[name], data.info, trivial, **given)

    def forecast(
        self,
        horizon: int,
        split: Asked = None,
        *,
        start: Start = None,
        samples: int = 100,
        quantiles: Sequence[float] | None = None,
        conditions: np.ndarray | None = None,
        seed: int = 0,
    ) -> Forecast:
        """What comes after the first frames; see `pyrodgm.evaluate.prediction.forecast.forecast`.

        Args:
            horizon: frames to forecast, H.
            split: whose sequences.
            start: frames seen; all but the last H, or with conditions "end", if not given.
            samples: particles, and continuations of each sequence.
            quantiles: levels in [0, 1]; 0.1, 0.5 and 0.9 if not given. Categorical data has none.
            conditions: of the H frames after the end of each of the N sequences, (N, H, U), or
                (H, U) for the same in all; those of frames in the data are known.
            seed: of the draws.
        """
        data, name = self.data.asked(split)
        sequences, means = data[name], data.info.kind == "unit"
        if conditions is not None:
            sequences = with_frames_to_come(sequences, conditions, horizon)
            start = None if start == "end" else start
        given = {"start": start, "samples": samples, "quantiles": quantiles, "seed": seed}
        return forecast(self.model, self.guide, sequences, horizon=horizon, means=means, **given)

    def impute(
        self,
        split: Asked = None,
        *,
        samples: int = 100,
        quantiles: Sequence[float] | None = None,
        lag: int = LAG,
        seed: int = 0,
    ) -> Imputation:
        """What is missing, filled in; see `pyrodgm.evaluate.prediction.impute.impute`."""
        given = {"samples": samples, "quantiles": quantiles, "lag": lag, "seed": seed}
        data, name = self.data.asked(split)
        means = data.info.kind == "unit"
        return impute(self.model, self.guide, data[name], means=means, **given)
