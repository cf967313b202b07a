"""Results of runs as tables, for text and HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain

from pyrodgm.data.base import DataInfo
from pyrodgm.display import counted_frames
from pyrodgm.evaluate.latents.states import States
from pyrodgm.evaluate.likelihood.bound import FILTERED_PATHS, Bound
from pyrodgm.evaluate.likelihood.compare import Comparison
from pyrodgm.evaluate.likelihood.parts import Parts
from pyrodgm.evaluate.likelihood.validation import Validation, choice, in_words
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.forecast import Forecast
from pyrodgm.evaluate.prediction.imputation_scores import ImputationScores
from pyrodgm.evaluate.trivial.likelihoods import NAMES, OF_THE_PAST
from pyrodgm.evaluate.words.predictors import NAMES as WORD_PREDICTORS
from pyrodgm.evaluate.words.scores import TOP, WordScore
from pyrodgm.models import Model
from pyrodgm.tables import Cell, Column, Measured, Table

SHOWN = 12  # rows of a table of horizons
ERROR = Column("standard error")
MP, PP = Column(f"MP, top {TOP}"), Column(f"PP, top {TOP}")
NO_BOUND = "There is no bound on the log-likelihood: model or guide has no density."
NORMALISER = (
    "The density is unnormalised: pyrodgm evaluate gives the log-likelihood, exactly or between "
    "two bounds."
)
LIKELIHOODS = (
    "Higher is better. By frame: mean over frames; by sequence: mean over sequences.",
    "Standard errors are over sequences.",
)
ROWS = ("Higher is better. Standard errors are over rows.",)


def estimate(bound: Bound, *, reverse: bool = False) -> str:
    """The name of a kind of log-likelihood: exact, or a bound by an estimator.

    Args:
        bound: the log-likelihood or a bound on it.
        reverse: whether annealing in reverse gave the lower bound, as for energy models.
    """
    if bound.estimator == "exact":
        return "exact log-likelihood"
    if bound.estimator == "quadrature":
        return "log-likelihood by quadrature"
    if bound.estimator == "ais":
        return f"lower bound by {'reverse ' if reverse else ''}annealing"
    if bound.estimator == FILTERED_PATHS:
        return "lower bound by a filter"
    if bound.estimator == "importance":
        return f"lower bound by {bound.particles} draws of the noise"
    if bound.particles == 1:
        return "1-sample lower bound"
    return f"lower bound, {bound.estimator} with {bound.particles} particles"


def likelihood_table(
    model: Model,
    bounds: Mapping[str, Bound],
    trivial: Mapping[str, Mapping[str, Bound]],
    *,
    beside: Mapping[str, Mapping[str, Bound]] | None = None,
    per_sequence: bool = False,
) -> Table:
    """Log-likelihoods of a model beside those of trivial predictors, the best first.

    Args:
        model: the model.
        bounds: of the model, by split; the last one orders the rows.
        trivial: of the predictors, by split and name.
        beside: others, such as upper bounds of the model, by name and split, if there are any.
        per_sequence: whether totals of sequences are shown too.
    """
    last = list(bounds)[-1]
    unnormalised = model.traits.density == "unnormalised"
    own = f"{type(model).__name__}, {estimate(bounds[last], reverse=unnormalised)}"
    rows = all(bound.frames == bound.examples for bound in bounds.values())
    predictors = [name for name in trivial[last] if not (rows and name in OF_THE_PAST)]
    named = {own: bounds, **(beside or {})}
    named |= {NAMES[name]: {k: trivial[k][name] for k in bounds} for name in predictors}
    ordered = sorted(named, key=lambda name: -named[name][last].nats_per_frame)
    found = "row" if rows else "frame"
    nats = _nats_per_row if rows else partial(_nats, per_sequence=per_sequence)
    return Table(
        [
            Column("log-likelihood", f"nats per {found}"),
            *_headings(bounds, rows=rows, per_sequence=per_sequence),
        ],
        [
            [name, *chain.from_iterable(nats(named[name][split]) for split in bounds)]
            for name in ordered
        ],
        title=f"{last}: {counted_frames(bounds[last].examples, bounds[last].frames)}",
        marked=[ordered.index(own)],
        notes=ROWS if rows else LIKELIHOODS,
    )


def _headings(splits: Iterable[str], *, rows: bool, per_sequence: bool) -> list[Column]:
    """The columns of log-likelihoods, those of every split in turn."""
    several = len(names := list(splits)) > 1
    if rows:
        labels = names if several else ["mean"]
        return list(chain.from_iterable([Column(label), ERROR] for label in labels))
    labels = [f"{name}, by frame" if several else "by frame" for name in names]
    columns = [[Column(label), ERROR, Column("by sequence"), ERROR] for label in labels]
    totals = [Column("per sequence", digits=2), Column("standard error", digits=2)]
    return [*chain.from_iterable(columns), *(totals if per_sequence else [])]


def _nats_per_row(bound: Bound) -> list[Cell]:
    return [bound.nats_per_frame, bound.standard_error_nats_per_frame]


def _nats(bound: Bound, *, per_sequence: bool) -> list[Cell]:
    by_sequence = bound.nats_per_frame_sequence_weighted
    error = bound.standard_error_nats_per_frame_sequence_weighted
    found = [bound.nats_per_frame, bound.standard_error_nats_per_frame, by_sequence, error]
    totals = [bound.nats_per_example, bound.standard_error_nats_per_example]
    return [*found, *(totals if per_sequence else [])]


def parts_table(parts: Parts, estimate: float | None, excess: float | None) -> Table:
    """The parts of the evidence lower bound of rows with one or two latents.

    Args:
        parts: of a split.
        estimate: of the bound by a critic, in nats per frame, if there is one.
        excess: of the estimate over the log-likelihood.
    """
    elbo = parts.elbo_nats_per_frame
    error = parts.elbo_standard_error or math.nan
    named: dict[str, Cell] = {
        "evidence lower bound": None if elbo is None else Measured(elbo, error),
        "reconstruction error per feature": parts.reconstruction_error_nats_per_pixel,
        "KL(q(z), p(z)) of the aggregate posterior": parts.aggregate_kl_nats,
        "critic's estimate of the bound, no bound": estimate,
        "the estimate less the log-likelihood": excess,
    }
    drawn = parts.by == "draws"
    notes = ["Means over draws of the guide." if drawn else "Parts of the bound by quadrature."]
    if estimate is not None and not drawn:
        notes.append("The critic's estimate is a mean over draws of the guide.")
    if parts.aggregate_kl_nats is None:
        notes.append("KL(q(z), p(z)) is left out: the prior depends on conditions.")
    elif drawn:
        notes.append("KL(q(z), p(z)) is estimated by distances between draws.")
    shown = [[name, value] for name, value in named.items() if value is not None]
    return Table([Column("parts of the bound"), Column("", "nats", 4)], shown, notes=notes)


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
