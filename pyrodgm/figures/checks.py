"""Figures of checks and of the learning curve, without global state of pyplot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pyrodgm.errors import UsageError
from pyrodgm.evaluate.likelihood.validation import NOTHING
from pyrodgm.evaluate.posterior.diagnostics import THRESHOLD
from pyrodgm.evaluate.posterior.summary import STATISTICS, Summary
from pyrodgm.storage.files import read_records, replacing

DATA, ONE_STEP, ANCESTRAL, BAD = "#222222", "#2a7ab9", "#e08a1e", "#c8372d"
COLOURS = {"posterior": ONE_STEP, "ancestral": ANCESTRAL}
LOWEST_K, HIGHEST_K = -0.5, 2.5  # values of k-hat outside are drawn at the edge
LABELS = {
    "posterior": "posterior replicates, given the frames before and the guide's latents",
    "ancestral": "ancestral replicates: whole sequences drawn from the model",
}
WORDS = {
    "activity": "activity: mean over frames and features",
    "spread": "spread over time of a frame's sum",
    "persistence": "persistence: 1 - mean change per step",
    "one-step persistence": "persistence from the observed frame before",
}
BOUND, EXACT = "elbo_nats_per_frame", "nats_per_frame"  # numbers that objectives report
VALID = "valid_nats_per_frame"
AXES = {BOUND: "lower bound, nats per frame", EXACT: "log-likelihood, nats per frame"}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; its folder must exist.

    Raises:
        UsageError: the file cannot be written.
    """
    FigureCanvasAgg(figure)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format="png")


def predictive_checks(
    data: Summary, replicates: Mapping[str, Summary], p: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Statistics of the data beside those of replicates, ones per frame, and feature means.

    arviz_plots has a similar figure (`plot_ppc_tstat`), but it uses pyplot and cannot show two
    kinds of replicates together; the trees of `pyrodgm.evaluate.posterior.datatree` open in it.

    Args:
        data: statistics of the data.
        replicates: statistics of replicates, by "posterior" and "ancestral".
        p: Bayesian p-values, by the same names.
    """
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = list(figure.subplots(2, 3).flat)
    of_data = data.over_sequences()
    means = {kind: summary.over_sequences() for kind, summary in replicates.items()}
    for ax, name in zip(axes, STATISTICS, strict=False):
        drawn = {kind: values[name] for kind, values in means.items() if name in values}
        if not drawn or name not in of_data:
            ax.set_axis_off()
            continue
        _statistic(ax, of_data[name].mean(), drawn)
        words = [f"{kind}: p = {p[kind][name]:.2f}" for kind in drawn]
        ax.set_title("    ".join(words), fontsize=9, color="#555555")
        ax.set_xlabel(WORDS[name])
        ax.locator_params(axis="x", nbins=4)
        ax.ticklabel_format(axis="x", useOffset=False)
    if data.info.kind in ("binary", "unit"):
        _ones_per_frame(axes[4], data, replicates)
    elif data.pairs.any():
        of_data = data.pairs[0].flatten()
        drawn = {kind: each.pairs.mean(0).flatten() for kind, each in replicates.items()}
        _beside(axes[4], of_data, drawn, "counts of successive symbols in the data")
    else:
        axes[4].set_axis_off()
    _feature_means(axes[5], data, replicates)
    marks = [Line2D([], [], color=DATA, lw=2, label="data")]
    marks += [Line2D([], [], color=COLOURS[kind], lw=6, label=LABELS[kind]) for kind in replicates]
    figure.legend(handles=marks, loc="outside upper center", ncols=3, frameon=False)
    return figure


def guide_quality(
    rows: np.ndarray, k: np.ndarray, efficiency: np.ndarray, gap: np.ndarray
) -> Figure:
    """k-hat of every sequence with its threshold, effective draws, and the gap per frame.

    Args:
        rows: numbers of the sequences, (N,), increasing.
        k: k-hat, (N,).
        efficiency: effective sample size over draws, (N,).
        gap: nats per frame, (N,).
    """
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    tops = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1, 1]})
    good, width = k <= THRESHOLD, 0.8 * (rows[-1] + 1) / len(rows)
    shown = np.nan_to_num(np.clip(k, LOWEST_K, HIGHEST_K), nan=HIGHEST_K)
    for which, colour, word in ((good, ONE_STEP, "trusted"), (~good, BAD, "not trusted")):
        label = f"{which.sum()} {word}"
        tops[0].plot(rows[which], shown[which], "o", ms=4, color=colour, label=label)
    tops[0].axhline(THRESHOLD, color=DATA, lw=1, ls="--", label=f"k-hat = {THRESHOLD}")
    beyond = np.flatnonzero(~(k <= HIGHEST_K))
    if len(beyond):
        tops[0].plot(rows[beyond], shown[beyond], "^", ms=7, color=BAD, label=f"above {HIGHEST_K}")
    tops[0].set(ylabel="Pareto k-hat", ylim=(min(0, shown.min()) - 0.1, None))
    figure.legend(
        *tops[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False
    )
    percent = 100 * np.nan_to_num(efficiency)  # not a number where all weights are zero
    tops[1].bar(rows, percent, color=ONE_STEP, width=width)
    smallest = 10 ** np.floor(np.log10(np.min(percent, where=percent > 0, initial=100.0)))
    tops[1].set(yscale="log", ylabel="effective\ndraws, %", ylim=(smallest / 2, 120))
    tops[2].bar(rows, np.where(np.isfinite(gap), gap, 0.0), color=ANCESTRAL, width=width)
    tops[2].set(
        ylabel="gap, nats\nper frame", xlabel="sequence", xlim=(rows[0] - width, rows[-1] + width)
    )
    tops[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    return _bare(figure)


def learning_curve(metrics: Path, headline: str) -> Figure:
    """The learning curve of an objective, in training and on validation, from `metrics.jsonl`.

    Validation numbers that training does not report, such as the score of held-out tokens, have
    their own panel.

    Args:
        metrics: the file.
        headline: the training number to show; see `Objective.headline`.

    Raises:
        UsageError: the file is missing or empty.
    """
    records = read_records(metrics)
    if not records:
        raise UsageError(f"there is no training to show: {metrics} is missing or empty")
    same = VALID if headline in (BOUND, EXACT) else f"valid_{headline}"
    others = [key for key in _validation_keys(records) if key != same]
    chosen = any(record.get("chosen_by") != NOTHING for record in records if "best" in record)
    marked = (others[-1] if others else same) if chosen else None
    figure = Figure(figsize=(9.6 if others else 6.4, 3.6), layout="constrained")
    ax, *beside = figure.subplots(1, 1 + len(others), squeeze=False).flat
    pale = {"color": "#9bbfdd", "lw": 1.2, "marker": ".", "ms": 3}
    _curve(ax, records, headline, label="training batches", **pale)
    _validation_curve(ax, records, same, marks_best=marked == same, label="validation")
    ax.set(xlabel="training step", ylabel=AXES.get(headline, _as_words(headline)))
    _skip_the_fall(ax, records, (headline, same))
    for right, key in zip(beside, others, strict=True):
        _validation_curve(right, records, key, marks_best=marked == key)
        right.set(xlabel="training step", ylabel=_as_words(key.removeprefix("valid_")))
    if any(panel.get_legend_handles_labels()[0] for panel in figure.axes):
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return _bare(figure)


def _validation_keys(records: list[dict[str, Any]]) -> list[str]:
    """Keys of validation numbers, in one of the two weightings."""
    found = dict.fromkeys(key for record in records for key in record if key.startswith("valid_"))
    return [key for key in found if not key.endswith("_sequence_weighted")]


def _as_words(key: str) -> str:
    return key.replace("_", " ")


def _validation_curve(
    ax: Axes, records: list[dict[str, Any]], key: str, *, marks_best: bool, label: str | None = None
) -> None:
    _curve(ax, records, key, color=ONE_STEP, lw=1.8, marker="o", ms=4, label=label)
    best = [record for record in records if record.get("best") and key in record]
    if best and marks_best:
        at = (best[-1]["step"], best[-1][key])
        ax.plot(*at, "o", ms=9, mfc="none", color=BAD, label=f"best, {at[1]:.2f}")


def _curve(ax: Axes, records: Iterable[dict[str, Any]], key: str, **style: Any) -> None:
    points = [(record["step"], record[key]) for record in records if key in record]
    if points:
        ax.plot(*zip(*points, strict=True), **style)


def _skip_the_fall(ax: Axes, records: list[dict[str, Any]], keys: Iterable[str]) -> None:
    """Set the limits so that the first steps do not compress the rest of the curve."""
    values = np.array([record[key] for record in records for key in keys if key in record])
    values = values[np.isfinite(values)]
    if len(values) > 10:
        low, high = np.quantile(values, 0.1), values.max()
        if low - values.min() > 2 * (high - low):
            ax.set_ylim(low - 0.5 * (high - low), high + 0.1 * (high - low))


def _statistic(ax: Axes, data: float, drawn: Mapping[str, np.ndarray]) -> None:
    everything = np.concatenate([*drawn.values(), [data]])
    bins = np.linspace(
        everything.min(), everything.max(), int(np.clip(len(everything) // 4, 10, 40))
    )
    if np.ptp(everything) == 0:
        bins = np.array([data - 0.5, data + 0.5])
    for kind, values in drawn.items():
        ax.hist(values, bins=list(bins), color=COLOURS[kind], alpha=0.75)
    ax.axvline(data, color=DATA, lw=2)
    ax.set_yticks([])
    ax.margins(x=0.08)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["left", "top", "right"]].set_visible(False)


def _ones_per_frame(ax: Axes, data: Summary, replicates: Mapping[str, Summary]) -> None:
    """Share of the frames by their number of ones: data as steps, replicates as 95 % bands."""
    shares = {kind: summary.counts / summary.frames for kind, summary in replicates.items()}
    mean = (data.counts / data.frames).mean(0)
    seen = np.flatnonzero(mean + sum(share.mean(0) for share in shares.values()) > 1e-3)
    low, high = max(seen.min() - 1, 0), min(seen.max() + 2, len(mean))
    at = np.arange(low, high)
    for kind, share in shares.items():
        lower, upper = np.quantile(share[:, low:high], [0.025, 0.975], axis=0)
        middle = share[:, low:high].mean(0)
        ax.fill_between(at, lower, upper, step="mid", color=COLOURS[kind], alpha=0.35, lw=0)
        ax.step(at, middle, where="mid", color=COLOURS[kind], lw=1.2)
    ax.step(at, mean[low:high], where="mid", color=DATA, lw=1.8)
    ax.set(xlabel="ones per frame", ylabel="share of frames", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.spines[["top", "right"]].set_visible(False)


def _feature_means(ax: Axes, data: Summary, replicates: Mapping[str, Summary]) -> None:
    of_data = data.feature_means.mean(0)
    known = ~np.isnan(of_data)
    of_data = of_data[known]
    drawn = {kind: each.feature_means.mean(0)[known] for kind, each in replicates.items()}
    what = "frequency of a symbol" if data.info.kind == "categorical" else "mean of a feature"
    _beside(ax, of_data, drawn, f"{what} in the data")


def _beside(ax: Axes, of_data: np.ndarray, drawn: Mapping[str, np.ndarray], label: str) -> None:
    """Numbers of replicates against those of the data."""
    for kind, numbers in drawn.items():
        ax.plot(of_data, numbers, ".", ms=5, color=COLOURS[kind], alpha=0.6)
    ends = [of_data.min(), of_data.max()]
    ax.plot(ends, ends, color=DATA, lw=1)
    ax.set(xlabel=label, ylabel="in replicates")
    ax.spines[["top", "right"]].set_visible(False)


def _bare(figure: Figure) -> Figure:
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
