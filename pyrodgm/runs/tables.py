"""Results of runs as tables, for text and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyrodgm.data.base import DataInfo
from pyrodgm.evaluate.latents.states import States
from pyrodgm.evaluate.likelihood.compare import Comparison
from pyrodgm.evaluate.likelihood.validation import Validation, choice, in_words
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.forecast import Forecast
from pyrodgm.evaluate.prediction.imputation_scores import ImputationScores
from pyrodgm.evaluate.words.predictors import NAMES as WORD_PREDICTORS
from pyrodgm.evaluate.words.scores import TOP, WordScore
from pyrodgm.models import Model
from pyrodgm.runs.likelihood_tables import ERROR, estimate
from pyrodgm.tables import Cell, Column, Table

SHOWN = 12  # rows of a table of horizons
MP, PP = Column(f"MP, top {TOP}"), Column(f"PP, top {TOP}")
NO_BOUND = "There is no bound on the log-likelihood: model or guide has no density."
NORMALISER = (
    "The density is unnormalised: pyrodgm evaluate gives the log-likelihood, exactly or between "
    "two bounds."
)


def objective_table(
    model: Model, numbers: Mapping[str, Mapping[str, float]], chosen_by: str
) -> Table:
    """Measures of an objective without a bound on the log-likelihood.

    Args:
        model: the model.
        numbers: by split and key.
        chosen_by: name of the validation score.
    """
    keys = dict.fromkeys(key for of_split in numbers.values() for key in of_split)
    return Table(
        [Column("measured by the objective"), *map(Column, numbers)],
        [[key.replace("_", " "), *(of.get(key) for of in numbers.values())] for key in keys],
        notes=[
            NORMALISER if model.traits.density == "unnormalised" else NO_BOUND,
            choice(chosen_by),
        ],
    )


def shown_table(found: Mapping[str, Validation]) -> Table:
    """What an objective shows beside its bound, by split."""
    keys = dict.fromkeys(key for each in found.values() for key in each.shown)
    return Table(
        [Column("measured by the objective"), *map(Column, found)],
        [[key.replace("_", " "), *(each.numbers[key] for each in found.values())] for key in keys],
    )


def validation_table(found: Mapping[str, Validation], split: str) -> Table:
    """Runs without bounds on the same split, by the score of their objective, the best first."""
    keys = dict.fromkeys(key for each in found.values() for key in each.numbers)
    return Table(
        [Column("run"), Column("score"), *(Column(key.replace("_", " ")) for key in keys)],
        [[name, x.score, *(x.numbers.get(key) for key in keys)] for name, x in found.items()],
        title=f"Runs by {in_words(next(iter(found.values())).by, split)}",
        notes=["Higher scores are better. These scores have no standard errors."],
    ).without_blanks()


def comparison_table(rows: Sequence[Comparison]) -> Table:
    """Runs on the same data, the best first, with the difference of each to the best."""
    return Table(
        [
            Column("run"),
            Column("estimate"),
            Column("nats/frame"),
            Column("by sequence"),
            Column("below the best", "nats/sequence", 2),
            Column("standard error", digits=2),
        ],
        [
            [
                row.name,
                estimate(row.bound),
                row.bound.nats_per_frame,
                row.bound.nats_per_frame_sequence_weighted,
                row.difference,
                row.standard_error,
            ]
            for row in rows
        ],
    )


def word_table(scores: Mapping[str, WordScore], *, single_draws: bool = False) -> Table:
    """Scores of predicted held-out tokens, with trivial predictors, the best first.

    Args:
        scores: by predictor.
        single_draws: whether to show the published overlaps, from single draws of the latents,
            beside those from the mean of many draws.
    """
    ordered = sorted(scores.items(), key=lambda item: -item[1].nats)
    columns = {
        Column("held-out tokens"): [WORD_PREDICTORS[name] for name, _ in ordered],
        Column("nats per token"): [score.nats for _, score in ordered],
        ERROR: [score.nats_error for _, score in ordered],
        MP: [score.overlap for _, score in ordered],
        Column("MP of the mean"): [score.mixture_overlap for _, score in ordered],
        Column("next frame", "nats"): [score.next_nats for _, score in ordered],
        PP: [score.next_overlap for _, score in ordered],
        Column("PP of the mean"): [score.mixture_next_overlap for _, score in ordered],
    }
    kept = {c: x for c, x in columns.items() if single_draws or c not in (MP, PP)}
    return Table(
        list(kept),
        list(zip(*kept.values(), strict=True)),
        marked=[i for i, (name, _) in enumerate(ordered) if name in ("guide", "weighted")],
        notes=[
            "Log-likelihood of the held-out tokens of each frame given its training tokens, and of "
            "all tokens of the frame that follows; higher is better.",
            f"MP and PP: the share of the {TOP} most frequent words of the same tokens that were "
            "predicted, from the mean of many draws of the latents"
            + (" and, as published, from single draws." if single_draws else "."),
        ],
    )


def prediction_table(
    model: Model, found: Mapping[str, Prediction], info: DataInfo, split: str
) -> Table:
    """Errors of the next frame by a model and by trivial predictors, the least first.

    Args:
        model: the model.
        found: predictions by method, from `Run.predict`.
        info: facts of the data.
        split: name of the split.
    """
    name, samples = type(model).__name__, found["filtered"].samples
    own = f"{name}, mean of {samples} filtered samples" if model.latents else name
    ordered = sorted(found.values(), key=lambda each: each.squared_error)
    columns: dict[Column, list[Cell]] = {
        Column("one frame ahead"): [own if x.method == "filtered" else x.method for x in ordered],
        Column("accuracy"): [x.accuracy for x in ordered],
        Column("squared error"): [x.squared_error for x in ordered],
        ERROR: [x.standard_error for x in ordered],
        Column("sd"): [x.sd for x in ordered],
        Column("in variances"): [x.standardised_error for x in ordered],
        Column("nats per frame"): [x.nats_per_frame for x in ordered],
    }
    what = "probabilities of symbols" if info.symbols else "features"
    notes = {
        "Means over frames from the second on, then over sequences; sd over sequences.": True,
        "Accuracy: how often the most probable symbol was right.": info.symbols,
        "The model is given the conditions; trivial predictors are not.": info.num_conditions,
        "In variances: mean over features of the error divided by the training variance.": (
            info.kind == "real"
        ),
    }
    return Table(
        list(columns),
        list(zip(*columns.values(), strict=True)),
        title=f"{split}: one frame ahead, squared error summed over {what}",
        marked=[i for i, each in enumerate(ordered) if each.method == "filtered"],
        notes=[note for note, holds in notes.items() if holds],
    ).without_blanks()


def horizon_table(found: Forecast) -> Table:
    """Errors of a forecast by number of frames ahead, at most a dozen rows."""
    rows = [row for row in found.by_horizon() if row["sequences"]]
    step = max(1, -(-len(rows) // SHOWN))
    columns = {
        "ahead": Column("frames ahead"),
        "sequences": Column("sequences"),
        "squared_error": Column("squared error"),
        "standard_error": ERROR,
        "copy_last": Column("copy-last"),
        "accuracy": Column("accuracy"),
        "copy_last_accuracy": Column("of copy-last"),
    }
    what = "features" if found.wrong is None else "probabilities of symbols"
    return Table(
        list(columns.values()),
        [[row.get(name) for name in columns] for row in rows[::step]],
        title=f"squared error summed over {what}",
    ).without_blanks()


def imputation_table(scores: ImputationScores) -> Table:
    """Errors of imputed values, the smallest first."""
    ordered = sorted(scores.squared_error.items(), key=lambda item: item[1])
    right = scores.accuracy or {}
    within = ""
    if scores.within is not None:
        low, high = scores.levels
        within = (
            f"{100 * scores.within:.0f} % of {scores.values} values lie between the quantiles "
            f"{low:g} and {high:g}"
        )
    return Table(
        [Column(""), Column("squared error per value", digits=4), Column("symbols right", "%", 0)],
        [[name, error, right.get(name)] for name, error in ordered],
        notes=[within] if within else [],
    ).without_blanks()


def state_table(states: States) -> Table:
    """Frequency and mean duration of each state of a hidden Markov model."""
    return Table(
        [
            Column("state"),
            Column("frames (Viterbi)", "%", 1),
            Column("probability (smoothing)"),
            Column("mean duration in frames", digits=1),
        ],
        [
            [row["state"], row["share"], row["probability"], row["mean_length"]]
            for row in states.summary()
        ],
    )
