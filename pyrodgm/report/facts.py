"""Sections of a report with numbers: configuration, results, learning curve and checks."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pyrodgm.display import counted_frames, number
from pyrodgm.evaluate.likelihood.gaps import gaps_words
from pyrodgm.evaluate.likelihood.validation import NOTHING, choice
from pyrodgm.evaluate.posterior.calibration import calibration_words
from pyrodgm.evaluate.posterior.predictive import FEATURE_MEANS
from pyrodgm.evaluate.posterior.summary import STATISTICS
from pyrodgm.evaluate.samples.quality import why_not
from pyrodgm.evaluate.trivial.likelihoods import NAMES
from pyrodgm.figures.checks import learning_curve
from pyrodgm.figures.curves import recorded_curves
from pyrodgm.report.blocks import (
    Block,
    Listing,
    Picture,
    Section,
    Text,
    data_uri,
    png_uri,
)
from pyrodgm.runs.check import FIGURES, check, last_check
from pyrodgm.runs.findings import CERTAIN, EXACT, latent_findings
from pyrodgm.runs.likelihood_tables import likelihood_table
from pyrodgm.runs.results import Results
from pyrodgm.runs.run import Run
from pyrodgm.runs.sample_table import quality_table
from pyrodgm.runs.tables import objective_table, word_table
from pyrodgm.tables import Column, Table

CHECK_FIGURES = {
    "predictive": "Statistics of the data (black) and of replicates drawn from the model. A line "
    "outside the histogram is a statistic that the model does not reproduce.",
    "guide": "For every sequence: k-hat of its importance weights, the share of effective draws, "
    "and a lower estimate of the divergence of the guide from the posterior.",
    "units": "Variance over frames of the posterior mean of every latent. Units below the line "
    "(0.01) hardly depend on the data.",
    "gaps": "Gap between log-likelihood and bound of single sequences: the part that remains with "
    "variational parameters of their own, and the part due to amortisation.",
    "calibration": "Simulation-based calibration: the distribution function of the ranks of "
    "simulated latents among draws from the guide. It is inside the grey limits if the guide is "
    "the posterior.",
}


def names(run: Run) -> dict[str, str]:
    """Names of model, guide, objective and data, or of their classes."""
    config = run.data.config
    if config is not None:
        parts = ("model", "guide", "objective", "data")
        return {part: Path(getattr(config, part).name).name for part in parts}
    objects = {"model": run.model, "guide": run.guide, "objective": run.objective}
    found = {part: type(value).__name__ for part, value in objects.items()}
    return {**found, "data": run.info.name}


def fitted(run: Run) -> Section:
    """The section on model, guide, objective, data and training."""
    values = run.folder.values
    rows = [[part.capitalize(), name, _options(values, part)] for part, name in names(run).items()]
    info, known = run.info, run.folder.made_with
    sizes = "; ".join(
        f"{name} {counted_frames(part['sequences'], part['frames'])}"
        for name, part in known["data_splits"].items()
    )
    rows += [
        ["Frames", f"{info.dim} features, {info.kind}", sizes],
        ["Training", f"{run.steps} steps in {run.seconds:.0f} s", _options(values, "fit")],
    ]
    count = sum(parameter.numel() for parameter in run.model.parameters())
    guided = sum(parameter.numel() for parameter in run.guide.parameters())
    rows.append(["Parameters", f"{count:,} in the model", f"{guided:,} in the guide"])
    notes = [Text(note, "note") for note in known["data_notes"]]
    return Section("What was fitted", [Table((), rows, numeric=False), *notes])


def _options(values: Mapping[str, Mapping[str, Any]], part: str) -> str:
    """The options of a part, as text."""
    given = values.get(part, {})
    shown = {key: value for key, value in given.items() if key not in ("name", "source")}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def tiles(
    run: Run, results: Results | None, found: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """The most important numbers."""
    shown = [] if results is None else _result_tiles(results)
    if found is not None and found["verdict"] not in (EXACT, CERTAIN):
        trusted = f"{found['trusted']} of {found['examples']}"
        shown.append((trusted, f"{found['split']} sequences where the guide can be trusted"))
    shown.append((f"{run.seconds:.0f} s", f"of training, {run.steps} steps"))
    return shown


def _result_tiles(results: Results) -> list[tuple[str, str]]:
    if results.test is None:
        measured = results.numbers["test"].items()
        return [(number(value), f"test, {key.replace('_', ' ')}") for key, value in measured]
    what = {"exact": "exact", "quadrature": "by quadrature"}.get(
        results.test.estimator, "lower bound"
    )
    shown = [(number(results.test.nats_per_frame), f"test, nats per frame ({what})")]
    trivial_bounds = {n: b for n, b in results.test_trivial.items() if n != "entropy"}
    if trivial_bounds:
        best = max(trivial_bounds, key=lambda name: trivial_bounds[name].nats_per_frame)
        ahead = results.test.nats_per_frame - trivial_bounds[best].nats_per_frame
        sign = "+" if ahead > 0 else ""
        label = f"difference to the best trivial predictor, {NAMES[best]}"
        shown.append((f"{sign}{number(ahead)}", label))
    return shown


def results_section(run: Run, results: Results | None) -> Section:
    """Bounds on validation and test beside trivial predictors, the best first."""
    if results is None:
        return Section("Results", [])
    if results.valid is None or results.test is None:
        table = objective_table(run.model, results.numbers, results.chosen_by)
        return Section("Results", [table] if table.rows else [Text(" ".join(table.notes))])
    bounds = {"valid": results.valid, "test": results.test}
    trivial = {"valid": results.valid_trivial, "test": results.test_trivial}
    return Section("Results", [likelihood_table(run.model, bounds, trivial)])


def learning(run: Run) -> Section:
    """The learning curve, and warnings of the training."""
    warned = [Text(f"Step {step}: {words}.", "warning") for step, words in run.training_warnings]
    return Section("Learning", [*warned, *_curves(run)])


def _curves(run: Run) -> list[Block]:
    if not run.folder.metrics.is_file() or not run.folder.metrics.stat().st_size:
        return []
    if len(run.objective.phases()) > 1:
        return _game(run)
    curve = png_uri(learning_curve(run.folder.metrics, run.objective.headline))
    where = "On training batches" + (" and on validation" if run.chosen_by != NOTHING else "")
    caption = f"{where}. {choice(run.chosen_by)} The first steps may be outside the axes."
    return [Picture(curve, caption, narrow=True)]


def _game(run: Run) -> list[Block]:
    """All numbers of an objective with several phases, such as a critic's."""
    figure = recorded_curves(run.folder.metrics, run.objective.headline)
    caption = f"Numbers that the objective records. {choice(run.chosen_by)}"
    return [] if figure is None else [Picture(png_uri(figure), caption)]


def draws_beside_data(run: Run, split: str, seed: int) -> Section:
    """Draws from the model beside rows of data, by a kernel test, modes and a classifier."""
    title = "Draws beside data"
    if why_not(run.model, run.info, run.sequences(split)):
        return Section(title, [])
    return Section(title, [quality_table(run.sample_quality(split, seed=seed))])


def words(run: Run, split: str, seed: int) -> Section:
    """The section on predicted words, beside trivial predictors."""
    found = run.word_scores(split, seed=seed)
    return Section("Prediction of words", [word_table(found, single_draws=True)] if found else [])


def trust(found: Mapping[str, Any] | None, figures: Path) -> Section:
    """The section on the findings of a check, with its figures from a folder."""
    if found is None:
        return Section("Can it be trusted?", [])
    good = found["trusted"] == found["examples"]
    tone = "note" if found["certain"] else "good" if good else "warning"
    blocks: list[Block] = [Text(found["verdict"], tone)]
    if found["verdict"] not in (EXACT, CERTAIN):
        blocks.append(_guide_words(found))
    if found["verdict"] != EXACT:
        blocks.append(Text(" ".join(latent_findings(found))))
    if found["gaps"] is not None:
        blocks.append(Text(gaps_words(found["gaps"])))
    if found["calibration"] is not None:
        blocks.append(Text(calibration_words(found["calibration"])))
    blocks.append(_misfit_table(found["p_values"], found["posterior_draws"]))
    for name, caption in CHECK_FIGURES.items():
        path = figures / f"{name}.png"
        if name in found["paths"] and path.is_file():
            blocks.append(Picture(data_uri(path.read_bytes(), "image/png"), caption))
    return Section("Can it be trusted?", blocks)


def _guide_words(found: Mapping[str, Any]) -> Text:
    k = [math.inf if value is None else value for value in found["k"]]
    effective = [value or 0 for value in found["efficiency"]]
    gap = fmean(value or 0 for value in found["gap_nats_per_frame"])
    return Text(
        f"Guide: {found['trusted']} of {found['examples']} sequences of the {found['split']} "
        f"split have k-hat below 0.7 (median {median(k):.2f}), from {found['draws']} draws "
        f"each; {100 * median(effective):.3g} % of the draws are effective (median), "
        f"and the bound is at least {number(gap)} nats per frame below the log-likelihood."
    )


def _misfit_table(p_values: Mapping[str, Mapping[str, float]], draws: int) -> Table:
    known = {name for found in p_values.values() for name in found}
    statistics = [name for name in (*STATISTICS, FEATURE_MEANS) if name in known]
    shown = ["features off" if name == FEATURE_MEANS else name for name in statistics]
    return Table(
        [Column("replicates"), *(Column(name, digits=2) for name in shown)],
        [
            [kind, *(found.get(name, math.nan) for name in statistics)]
            for kind, found in p_values.items()
        ],
        notes=[
            f"Share of {draws} replicates in which a statistic is larger than in the data: near 0 "
            "it is too low in replicates, near 1 too high.",
            "'Features off' is the share of the features whose mean lies outside 95 % of "
            "replicates; about 0.05 is expected.",
        ],
    )


def checked(
    run: Run, split: str, folder: Path, *, anew: bool = True
) -> tuple[dict[str, Any] | None, Path]:
    """The last check, if it was of these weights and this split; else a new one.

    Args:
        run: a fitted model and guide.
        split: name of the split.
        folder: for the files of a new check.
        anew: whether a new check may be made, which needs the data.

    Returns:
        The findings, and the folder with the figures.
    """
    if (found := last_check(run, split)) is not None:
        return found, run.folder.path / FIGURES
    if not anew:
        return None, folder
    return check(run, split=split, out=folder).to_dict(), folder / FIGURES


def configuration(run: Run) -> Section:
    """The configuration file, from which the run can be repeated."""
    text = run.folder.config.read_text(encoding="utf-8")
    again = f"To fit it again: pyrodgm fit --config {run.folder.config.name}"
    return Section("Configuration", [Listing(text.strip()), Text(again, "note")])


def environment(run: Run) -> Section:
    """Versions and machine."""
    found = run.folder.made_with
    rows = [[name, text] for name, text in found["versions"].items()]
    rows += [[name, str(found[name])] for name in ("platform", "device", "threads")]
    rows += [["data sha256", found["data_sha256"] or "generated"]]
    rows += [["command", shlex.join(found["command"])]]
    return Section("Environment", [Table((), rows, numeric=False)])
