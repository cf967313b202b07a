"""Evaluations of a fitted model and guide, on their own data or on other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from pyrodgm.data.ahead import with_frames_to_come
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.evaluation import Data
from pyrodgm.data.labels import labels_as_conditions
from pyrodgm.errors import MissingDataError, UsageError
from pyrodgm.evaluate.landscape import Landscape, has_landscape, landscape
from pyrodgm.evaluate.latents.states import States, states
from pyrodgm.evaluate.likelihood.ais import Annealed, Chains, annealed
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.bounds import Estimator, bound, sequence_scores
from pyrodgm.evaluate.likelihood.compare import Scored, score
from pyrodgm.evaluate.likelihood.energy import EnergyLikelihood, energy_likelihood
from pyrodgm.evaluate.likelihood.field import FieldLikelihood, field_likelihood
from pyrodgm.evaluate.likelihood.parts import Parts, bound_parts
from pyrodgm.evaluate.likelihood.regression import FEWEST, by_regression, guide_scores
from pyrodgm.evaluate.passes import Progress, silent
from pyrodgm.evaluate.posterior.kept import spread_rows
from pyrodgm.evaluate.prediction.completing_filter import LAG
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.forecast import Forecast, Start, forecast
from pyrodgm.evaluate.prediction.impute import Imputation, impute
from pyrodgm.evaluate.prediction.one_step import autoregressive_order, predictions
from pyrodgm.evaluate.prediction.samples import Sampler, sample, sampled
from pyrodgm.evaluate.samples.quality import REVISED, Quality, quality
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.evaluate.words.predictors import word_scores
from pyrodgm.evaluate.words.scores import WordScore
from pyrodgm.evaluate.words.topics import Topic, topics
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, Model
from pyrodgm.runs.data import DataChoice, RunData
from pyrodgm.runs.stored import stored_results

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Evaluations:
    """A fitted model and guide, and data for evaluation.

    Every method takes the name of a split, by default "test", or data: one sequence (T, D), several
    of one length (N, T, D), a list of sequences, or `Sequences`; see
    `pyrodgm.data.evaluation.given_data`.

    Args:
        model: the model p.
        guide: the guide q.
        data: the data that they were fitted on, and the data for evaluation.
    """

    def __init__(self, model: Model, guide: Guide, data: RunData) -> None:
        self.model = model
        self.guide = guide
        self.data = data

    @property
    def samplers(self) -> Mapping[str, Sampler]:
        """Ways of drawing from the model by name; the last one stands for it."""
        return {}

    @property
    def splits(self) -> Data:
        """The data for evaluation, by name: the data of the fit, or other data.

        Raises:
            MissingDataError: the data is no longer at its place.
        """
        return self.data.splits

    @property
    def info(self) -> DataInfo:
        """The facts of the data that the run was fitted on."""
        return self.data.info

    def sequences(self, split: DataChoice = None) -> Sequences:
        """The sequences of a split, or given ones."""
        data, name = self.data.choose(split)
        return data[name]

    def evaluate(
        self,
        split: DataChoice = None,
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

    def parts(self, split: DataChoice = None, *, seed: int = 0) -> Parts:
        """The parts of the bound of rows with few latents; see `bound_parts`."""
        return bound_parts(self.model, self.guide, self.sequences(split), seed=seed)

    def scores(
        self,
        split: DataChoice = None,
        *,
        particles: int = 1,
        estimator: Estimator = "auto",
        seed: int = 0,
    ) -> pd.DataFrame:
        """The bound of every sequence; see `pyrodgm.evaluate.likelihood.bounds.sequence_scores`."""
        given: dict[str, Any] = {"particles": particles, "estimator": estimator, "seed": seed}
        return sequence_scores(self.model, self.guide, self.sequences(split), **given)

    def energy_likelihood(
        self, split: DataChoice = None, *, seed: int = 0, **options: Any
    ) -> EnergyLikelihood:
        """The log-likelihood of an energy model, bracketed by two bounds or exact.

        See `pyrodgm.evaluate.likelihood.energy.energy_likelihood` for the options.
        """
        return energy_likelihood(self.model, self.sequences(split), seed=seed, **options)

    def field_likelihood(
        self, split: DataChoice = None, *, seed: int = 0, **options: Any
    ) -> FieldLikelihood:
        """The log-likelihood of a random field by draws of its noise, beside that of the noise.

        See `pyrodgm.evaluate.likelihood.field.field_likelihood` for the options.
        """
        given = {"seed": seed, **options}
        return field_likelihood(self.model, self.guide, self.sequences(split), **given)

    def annealed(
        self,
        split: DataChoice = None,
        *,
        sequences: int = 100,
        simulated: int = 20,
        chains: Chains | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> tuple[Annealed, Bound, np.ndarray]:
        """A bound by annealing the latents, and its width on simulated sequences.

        See `pyrodgm.evaluate.likelihood.ais.annealed`.

        Args:
            split: name of a split, or sequences.
            sequences: number of sequences, spread evenly over the split.
            simulated: number of simulated sequences.
            chains: their number, temperatures and start.
            seed: of all draws.
            progress: called with the share done, in [0, 1].

        Returns:
            What annealing found, the bound, and the rows of the sequences in the split.
        """
        part = self.sequences(split)
        rows = spread_rows(len(part), sequences)
        given = {"simulated": simulated, "seed": seed, "progress": progress}
        found = annealed(self.model, self.guide, part.select(rows), chains, **given)
        if FEWEST <= len(rows) < len(part):
            cheap = guide_scores(self.model, self.guide, part, seed=seed)
            if cheap is not None:
                found = replace(found, whole=by_regression(found.nats, cheap[rows], cheap))
        return found, Bound.of(found.nats, part.lengths[rows], "ais"), rows

    def sample_quality(
        self, split: DataChoice = None, *, draws: int | None = None, seed: int = 0
    ) -> Quality:
        """Draws from the model beside data; see `pyrodgm.evaluate.samples.quality.quality`.

        Where the data of the fit is missing, there is no reference by training rows.
        """
        data, name = self.data.choose(split)
        training = None
        with suppress(MissingDataError):
            training = self.data.own.placed(self.info).train
        given: dict[str, Any] = {"split": name, "draws": draws, "seed": seed}
        given["samplers"] = self.samplers
        return quality(self.model, self.guide, self.info, data[name], training, **given)

    def landscape(self) -> Landscape | None:
        """The density of a field of two real numbers beside the true one; None for other models.

        See `pyrodgm.evaluate.landscape.landscape`.
        """
        known = has_landscape(self.model, self.info)
        return landscape(cast("EnergyModel", self.model), self.info) if known else None

    def states(self, split: DataChoice = None) -> States:
        """The states of a hidden Markov model; see `pyrodgm.evaluate.latents.states.states`."""
        return states(self.model, self.sequences(split))

    def trivial_bounds(
        self, split: DataChoice = None, *, rows: np.ndarray | None = None
    ) -> dict[str, Bound]:
        """Trivial predictors of the run's training data; see `pyrodgm.evaluate.trivial`."""
        data, name = self.data.choose(split)
        totals = scores_totals(self.model)
        return self.data.trivial_bounds(data, name, totals=totals, rows=rows)

    def word_scores(self, split: DataChoice = None, *, seed: int = 0) -> dict[str, WordScore]:
        """Scores of predictions of held-out tokens, beside trivial predictors; empty without them.

        See `pyrodgm.evaluate.words.predictors.word_scores`.
        """
        return word_scores(self.model, self.guide, self.sequences(split), seed=seed)

    def topics(
        self, split: DataChoice = None, *, num: int = 10, num_words: int = 10, seed: int = 0
    ) -> list[Topic]:
        """The units with coherent words, the best first; of "train" by default.

        See `pyrodgm.evaluate.words.topics.topics`.
        """
        given = {"num": num, "num_words": num_words, "seed": seed}
        data, name = self.data.choose(split, "train")
        return topics(self.model, self.guide, data, split=name, **given)

    def scored(self, split: DataChoice = None, *, particles: int = 1, seed: int = 0) -> Scored:
        """Bounds for `pyrodgm.evaluate.likelihood.compare.ranked`.

        Those that the fit ended with, where its data is not where it was.
        """
        try:
            data, name = self.data.choose(split)
        except MissingDataError:
            if not isinstance(split, str | None) or (particles, seed) != (1, 0):
                raise
            kept = stored_results(self.data.folder, self.info)
            if (name := split or "test") not in kept:
                raise
            return kept[name].scored
        return score(self.model, self.guide, data, name, particles=particles, seed=seed)

    def to_datatree(
        self, split: DataChoice = None, *, draws: int = 100, seed: int = 0
    ) -> xr.DataTree:
        """Draws from the guide as an arviz tree; see `pyrodgm.evaluate.posterior`."""
        from pyrodgm.evaluate.posterior.datatree import to_datatree  # arviz is slow to import

        data, name = self.data.choose(split)
        return to_datatree(self.model, self.guide, data, split=name, draws=draws, seed=seed)

    def sample(
        self,
        num: int,
        length: int | None = None,
        *,
        prefix: int = 0,
        split: DataChoice = None,
        conditions: np.ndarray | None = None,
        labels: Sequence[str] = (),
        revised: bool = False,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """Ancestral draws from the model; see `pyrodgm.evaluate.prediction.samples.sample`.

        Labels are names of classes that were conditions in training; sequences have them in turn.
        Draws of a generator may be revised by the critic of its game; see `GeneratorGame.revised`.

        Raises:
            UsageError: draws to be revised that cannot be.
        """
        if labels:
            if conditions is not None or prefix:
                raise UsageError("labels go without conditions and without a prefix")
            frames = round(self.info.mean_length) if length is None else length
            conditions = labels_as_conditions(self.info, labels, num, frames)
        needed = prefix or (self.info.num_conditions and conditions is None)
        sequences = self.sequences(split) if needed else None
        given: dict[str, Any] = {"num": num, "length": length, "conditions": conditions}
        if revised and (REVISED not in self.samplers or prefix):
            raise UsageError(
                f"draws of {type(self.model).__name__} cannot be revised: only those without a "
                "prefix, of models that were trained by gan, f-gan or inclusive-nrf"
            )
        if self.samplers and not prefix:
            sampler = self.samplers[REVISED if revised else [*self.samplers][-1]]
            found = sampled(sampler, self.model, self.info, sequences, **given, seed=seed)
            return {"x": found}
        given |= {"prefix": prefix, "seed": seed}
        return sample(self.model, self.guide, self.info, sequences, **given)

    def predict(
        self, split: DataChoice = None, *, samples: int = 20, seed: int = 0, **options: Any
    ) -> dict[str, Prediction]:
        """One-step-ahead prediction beside trivial predictors, by method.

        See `pyrodgm.evaluate.prediction.one_step.predictions`.
        """
        data, name = self.data.choose(split)
        trivial = self.data.baselines(data, autoregressive_order(self.model))
        given = {"samples": samples, "seed": seed, **options}
        return predictions(self.model, self.guide, data[name], data.info, trivial, **given)

    def forecast(
        self,
        horizon: int,
        split: DataChoice = None,
        *,
        start: Start = None,
        samples: int = 100,
        quantiles: Sequence[float] | None = None,
        conditions: np.ndarray | None = None,
        seed: int = 0,
    ) -> Forecast:
        """Continuations of sequences; see `pyrodgm.evaluate.prediction.forecast.forecast`.

        Args:
            horizon: frames to forecast, H.
            split: name of a split, or sequences.
            start: observed frames used; by default all but the last H, or with conditions "end".
            samples: particles, and continuations of each sequence.
            quantiles: levels in [0, 1]; 0.1, 0.5 and 0.9 if not given. Categorical data has none.
            conditions: of the H frames after the end of each of the N sequences, (N, H, U), or
                (H, U) for the same in all; conditions of frames in the data are not repeated.
            seed: of the draws.
        """
        data, name = self.data.choose(split)
        sequences, means = data[name], data.info.kind == "unit"
        if conditions is not None:
            start = None if start == "end" else start
            sequences = with_frames_to_come(sequences, conditions, horizon, start=start)
        given = {"start": start, "samples": samples, "quantiles": quantiles, "seed": seed}
        return forecast(self.model, self.guide, sequences, horizon=horizon, means=means, **given)

    def impute(
        self,
        split: DataChoice = None,
        *,
        samples: int = 100,
        quantiles: Sequence[float] | None = None,
        lag: int = LAG,
        seed: int = 0,
    ) -> Imputation:
        """Imputation of missing values; see `pyrodgm.evaluate.prediction.impute.impute`."""
        given = {"samples": samples, "quantiles": quantiles, "lag": lag, "seed": seed}
        data, name = self.data.choose(split)
        means = data.info.kind == "unit"
        return impute(self.model, self.guide, data[name], means=means, **given)
