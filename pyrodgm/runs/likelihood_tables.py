"""Log-likelihoods of a model beside those of trivial predictors, and the parts of a bound."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain

from pyrodgm.display import counted_frames
from pyrodgm.evaluate.likelihood.bound import FILTERED_PATHS, Bound
from pyrodgm.evaluate.likelihood.parts import Parts
from pyrodgm.evaluate.trivial.likelihoods import NAMES, OF_THE_PAST
from pyrodgm.models import Model
from pyrodgm.tables import Cell, Column, Measured, Table

ERROR = Column("standard error")
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
