"""Measures in tables of papers: of fitted runs, and of data without training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from pyrodgm.data import balls
from pyrodgm.data.base import Splits
from pyrodgm.data.evaluation import Data
from pyrodgm.engine.terms import terms
from pyrodgm.evaluate.latents.activity import ACTIVE, activities
from pyrodgm.evaluate.likelihood.bound import Bound
from pyrodgm.evaluate.likelihood.bounds import Estimator
from pyrodgm.evaluate.likelihood.parts import excess
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.evaluate.prediction.errors import Prediction
from pyrodgm.evaluate.prediction.one_step import (
    FILTERED,
    Method,
    baseline_predictions,
    one_step,
    predict,
)
from pyrodgm.evaluate.trivial.likelihoods import trivial_bounds
from pyrodgm.evaluate.trivial.predictors import baselines
from pyrodgm.evaluate.words.predictors import score_model, trivial_scores
from pyrodgm.evaluate.words.scores import Corpus, WordScore
from pyrodgm.objectives import AVRNN
from pyrodgm.objectives.avrnn import ESTIMATE
from pyrodgm.objectives.kl import exact_kl
from pyrodgm.reproduce.draws import (
    draws,
    draws_and_annealing,
    fields,
    rows_as_draws,
    trivial_draws,
    trivial_reconstructions,
)
from pyrodgm.reproduce.slip import has_slip, slipped_step
from pyrodgm.reproduce.table import Numbers
from pyrodgm.runs.run import Run
from pyrodgm.seeds import numpy_generator
from pyrodgm.tables import Measured

PUBLISHED = Method("published", one_step)
SLIPPED = Method("published-order1", slipped_step)


def prediction(run: Run, *, samples: int) -> Numbers:
    """Squared errors of the next frame on the test split, and the one-sample bound there.

    Args:
        run: a fitted run.
        samples: number of samples averaged for "error_mean".

    Returns:
        "error_mean" is the error of the mean of many weighted samples; "error", as published, that
        of one sample; "error_bug" the same with the slip of the published code, for models that
        have it; "bound" in nats per frame.
    """
    found = {"error_mean": _error(run, FILTERED, samples)}
    # Without latents, one sample equals the mean of many.
    latent = bool(run.model.latents)
    found["error"] = _error(run, PUBLISHED) if latent else found["error_mean"]
    if has_slip(run.model):
        found["error_bug"] = _error(run, SLIPPED)
    return {**found, "bound": by_frame(run.evaluate("test"))}


def _error(run: Run, method: Method, samples: int = 1) -> Measured:
    given: dict[str, Any] = {"kind": run.splits.info.kind, "samples": samples, "method": method}
    return _squared(predict(run.model, run.guide, run.splits["test"], **given))


def _squared(found: Prediction) -> Measured:
    return Measured(found.squared_error, found.standard_error)


def likelihoods(run: Run, *, particles: int) -> Numbers:
    """The one-sample bound by sequence, "single", and the tightest bound by frame, "many"."""
    tightest: Estimator = "fivo" if run.model.latents else "exact"
    many = run.evaluate("test", estimator=tightest, particles=particles)
    return {"single": by_sequence(run.evaluate("test")), "many": by_frame(many)}


def between_bounds(run: Run) -> Numbers:
    """The log-likelihood of an energy model on test, by frame: "upper" and "lower", or exact."""
    found = run.energy_likelihood("test")
    return {"upper": by_frame(found.upper), "lower": by_frame(found.lower)}


def by_frame(bound: Bound) -> Measured:
    """Nats per frame, averaged over frames."""
    return Measured(bound.nats_per_frame, bound.standard_error_nats_per_frame)


def by_sequence(bound: Bound) -> Measured:
    """Nats per frame, averaged over sequences."""
    error = bound.standard_error_nats_per_frame_sequence_weighted
    return Measured(bound.nats_per_frame_sequence_weighted, error)


def parts_of_the_bound(run: Run) -> Numbers:
    """Reconstruction, KL term in closed form and their game, on the test split, by frame.

    Returns:
        "bound" of one sample, "reconstruction" and "kl" in nats per frame; "active" units, whose
        posterior mean varies over the data; "distance", the critic's estimate, if there is one.
    """
    test, seen, kl = run.splits["test"], 0.0, 0.0
    with drawing(run.model, 0, "parts of the bound") as device:
        for rows, _ in chunks(test.lengths, 1, width=run.model.frame_size):
            found = terms(run.model, run.guide, test.batch(rows).to(device))
            seen += float(found.total({name: found.p[name] for name in run.model.observed}).sum())
            kl += float(found.total(exact_kl(found)).sum())
    active = [each > ACTIVE for each in activities(run.model, run.guide, test).values()]
    own = run.validation("test").numbers if isinstance(run.objective, AVRNN) else {}
    return {
        "bound": by_frame(run.evaluate("test")),
        "reconstruction": Measured(seen / test.num_frames),
        "kl": Measured(kl / test.num_frames),
        "active": Measured(float(sum(map(np.sum, active)))),
        **({"distance": Measured(own[ESTIMATE])} if own else {}),
    }


def parts_by_quadrature(run: Run) -> Numbers:
    """Log-likelihood and the parts of the bound of rows with one or two latents, on test.

    Returns:
        "log_likelihood", "reconstruction" error per pixel and "aggregate_kl"; "elbo" where the
        guide has a density; "estimate", that of a critic, and "excess" over the log-likelihood.
    """
    log_likelihood = run.evaluate("test", estimator="quadrature").nats_per_frame
    parts, estimate = run.parts("test"), run.adversarial_estimate("test")
    found = {
        "log_likelihood": log_likelihood,
        "reconstruction": parts.reconstruction_error_nats_per_pixel,
        "aggregate_kl": parts.aggregate_kl_nats,
        "estimate": estimate,
        "excess": None if estimate is None else excess(estimate, log_likelihood),
    }
    numbers = {name: Measured(value) for name, value in found.items() if value is not None}
    if parts.elbo_nats_per_frame is not None:
        numbers["elbo"] = Measured(parts.elbo_nats_per_frame, parts.elbo_standard_error or math.nan)
    return numbers


def words(run: Run, *, draws: int) -> Numbers:
    """The published overlaps of frequent words, and nats per held-out token."""
    model, guide = cast("Any", (run.model, run.guide))
    return _word_numbers(score_model(model, guide, corpus_of(run.splits), draws=draws)["guide"])


def corpus_of(splits: Data) -> Corpus:
    """The counts of the test years: all but the last are partly given, the last is held out."""
    corpus = Corpus.of(splits["test"])
    assert corpus is not None, "the data of this table holds words out"
    return corpus


def _word_numbers(score: WordScore) -> Numbers:
    return {
        "MP": Measured(score.overlap, score.overlap_sd),
        "MP mean": Measured(score.mixture_overlap),
        "PP": Measured(score.next_overlap, score.next_overlap_sd),
        "PP mean": Measured(score.mixture_next_overlap),
        "nats": Measured(score.nats, score.nats_error),
        "next nats": Measured(score.next_nats),
    }


def trivial_errors(splits: Splits, *, orders: Sequence[int]) -> Mapping[str, Numbers]:
    """Squared errors of trivial predictors, and of linear autoregressions of these orders."""
    rows = {}
    for order in orders:
        found = baseline_predictions(baselines(splits, order), splits.test, splits.info)
        rows |= {name: {"error": _squared(each)} for name, each in found.items()}
    return rows


def true_motion(splits: Splits) -> Mapping[str, Numbers]:
    """Squared errors of predictions that move the true centres of balls along a straight line.

    One uses the true velocity, which is wrong only in frames with a collision. The other uses the
    last displacement, from the third frame on, which is also wrong after a collision.
    """
    centres, velocities = balls.motion(len(splits.test), 100, numpy_generator(0, "balls", "test"))
    now, before = centres[:, 1:-1], centres[:, :-2]
    moved = {
        "last displacement of the true centres": now + (now - before),
        "true centres and velocities": centres[:, :-1] + velocities[:, :-1],
    }
    return {row: {"error": _pixel_error(centres, ahead)} for row, ahead in moved.items()}


def _pixel_error(centres: np.ndarray, ahead: np.ndarray) -> Measured:
    seen = balls.render(centres[:, -ahead.shape[1] :])
    each = np.square(balls.render(ahead) - seen).sum((2, 3)).mean(1)
    return Measured(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))))


def trivial_likelihoods(
    splits: Splits, *, rows: Mapping[str, str], metrics: Mapping[str, str]
) -> Mapping[str, Numbers]:
    """Exact log-likelihoods of trivial models, in nats per frame.

    Args:
        splits: the data.
        rows: names in the table of `pyrodgm.evaluate.trivial.likelihoods.trivial_bounds`.
        metrics: "by frame" or "by sequence", for every metric.
    """
    weighting = {"by frame": by_frame, "by sequence": by_sequence}
    found = trivial_bounds(splits, "test")
    return {
        name: {
            metric: Measured(weighting[how](found[key]).value) for metric, how in metrics.items()
        }
        for key, name in rows.items()
    }


def entropy_of_rows(splits: Splits, *, row: str, metrics: Sequence[str]) -> Mapping[str, Numbers]:
    """Minus the entropy of the rows of the test split, which no log-likelihood of them exceeds.

    Args:
        splits: the data.
        row: its name in the table.
        metrics: that it is the supremum of.
    """
    _, counts = np.unique(splits["test"].x.numpy(), axis=0, return_counts=True)
    shares = counts / counts.sum()
    return {row: dict.fromkeys(metrics, Measured(float((shares * np.log(shares)).sum())))}


def trivial_words(splits: Splits) -> Mapping[str, Numbers]:
    """Overlaps and nats of trivial predictors of words."""
    found = trivial_scores(corpus_of(splits))
    return {name: _word_numbers(score) for name, score in found.items()}


MEASURES: dict[str, Callable[..., Numbers]] = {
    "prediction": prediction,
    "likelihoods": likelihoods,
    "between bounds": between_bounds,
    "parts of the bound": parts_of_the_bound,
    "parts by quadrature": parts_by_quadrature,
    "words": words,
    "draws": draws,
    "draws and annealing": draws_and_annealing,
    "fields": fields,
}
BASELINES: dict[str, Callable[..., Mapping[str, Numbers]]] = {
    "errors": trivial_errors,
    "true motion of balls": true_motion,
    "likelihoods": trivial_likelihoods,
    "entropy of rows": entropy_of_rows,
    "words": trivial_words,
    "draws": trivial_draws,
    "rows as draws": rows_as_draws,
    "reconstructions": trivial_reconstructions,
}
