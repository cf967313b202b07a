"""Checks of a fitted guide and model, with figures and a verdict in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pyrodgm.access import access_in_words, is_denied, without_permission
from pyrodgm.data.evaluation import Data
from pyrodgm.engine.particles import beginning
from pyrodgm.errors import RunFolderError, UsageError
from pyrodgm.evaluate.latents.activity import activities, expected_latents
from pyrodgm.evaluate.latents.classes import ClassUse, class_use
from pyrodgm.evaluate.likelihood.weights import (
    importance_weights,
    latent_nats,
    refuse_without_weights,
)
from pyrodgm.evaluate.posterior import diagnostics, predictive
from pyrodgm.evaluate.posterior.datatree import compact_tree, write_netcdf
from pyrodgm.evaluate.posterior.kept import Kept, affordable, judged_rows
from pyrodgm.evaluate.prediction.one_step import expected_frames
from pyrodgm.evaluate.prediction.reconstruction import reconstruct
from pyrodgm.evaluate.trivial.counts import scores_totals
from pyrodgm.evaluate.work import Work, replicating, weighing
from pyrodgm.figures import checks as plots
from pyrodgm.figures.classes import class_shares
from pyrodgm.figures.sequences import pictures
from pyrodgm.figures.units import active_units
from pyrodgm.guides import StepGuide
from pyrodgm.models import StepModel
from pyrodgm.runs.findings import CERTAIN, EXACT, Check
from pyrodgm.runs.guide_tests import GuideFindings, GuideTests
from pyrodgm.runs.run import Run
from pyrodgm.storage.files import replacing

NAME, FIGURES = "check.json", "figures"
EXAMPLE_FRAMES = 64
CLASS_DRAWS = 10  # of the latents above a site of classes, if any

Progress = Callable[[str, float], None]


def check(
    run: Run,
    *,
    split: str | None = None,
    draws: int = 1000,
    posterior_draws: int = 100,
    sequences: int | None = None,
    tests: GuideTests | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = lambda *_: None,
) -> Check:
    """Check guide and model on a split; writes posterior.nc, figures and check.json.

    The guide is checked by its importance weights, the model by data drawn from it; see
    `pyrodgm.evaluate.posterior`.

    Args:
        run: a fitted model and guide.
        split: name of the split; by default "test", or the only one.
        draws: importance draws per sequence, K; a thousand or more.
        posterior_draws: draws per sequence to store, and replicates of the split.
        sequences: number of sequences for the check of the guide, spread evenly over the split; by
            default as many as a limit on the operations of draws allows, and at least ten.
        tests: further tests of the guide; none if not given.
        seed: of all draws.
        out: folder for the files, which is created if needed; by default that of the run.
        progress: called with the name of each part of the work and the share of it that is done.

    Raises:
        UsageError: too few draws, no sequences, too few simulated ones, an unknown split, or a
            folder that cannot be written.
        CompatibilityError: a test that the model does not allow.
    """
    diagnostics.refuse_few(draws)
    tests = tests or GuideTests()
    tests.refuse(run.model, run.guide)
    refuse_without_weights(run.model, run.guide)
    _, split = run.data.choose(split)
    weights, stored = _work(run, split)
    rows = judged_rows(run.splits[split].lengths, weights.of(draws), sequences)
    kept = affordable(run.model, run.splits, split, posterior_draws, stored)
    folder = _prepared(_place(run) if out is None else Path(out))
    with replacing(folder / NAME) as unfinished:
        found = _found(run, folder, split, rows, draws, kept, tests, seed, progress)
        unfinished.write_text(json.dumps(found.to_dict(), indent=2))
    return found


def _work(run: Run, split: str) -> tuple[Work, Work]:
    """The work per frame of importance weights, and of draws to keep with their replicates."""
    weights = weighing(run.model, run.guide, run.splits[split])
    if not isinstance(run.model, StepModel):
        return weights, weights
    drawn = replicating(run.model, run.splits[split])  # given the guide's latents, and without
    return weights, weights + drawn + drawn


def _prepared(folder: Path) -> Path:
    """A folder with a subfolder for figures, created if needed."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = without_permission(error) if is_denied(error) else str(error)
        raise UsageError(f"cannot make the folder {folder / FIGURES}: {why}") from error
    return folder


def _found(
    run: Run,
    folder: Path,
    split: str,
    rows: np.ndarray,
    draws: int,
    kept: Kept,
    tests: GuideTests,
    seed: int,
    progress: Progress,
) -> Check:
    """The findings; all files but check.json are written."""
    judged = run.splits[split].select(rows)
    log_w = importance_weights(
        run.model,
        run.guide,
        judged,
        particles=draws,
        seed=seed,
        progress=partial(progress, "importance weights"),
    )
    k, exact = diagnostics.pareto_k(log_w), run.model.traits.latents == "none"
    paths = {"posterior": folder / "posterior.nc"}
    nats = latent_nats(run.model, run.guide, judged, seed=seed)
    active = activities(run.model, run.guide, judged, seed=seed)
    tested = GuideFindings()
    if not exact:
        given = {"draws": draws, "seed": seed, "progress": progress}
        tested = tests.make(run.model, run.guide, judged, active, **given)
    used = _classes(run, split, seed)
    p_values = _check_model(run, split, kept, seed, paths, progress)
    found = Check(
        checkpoint=run.checkpoint,
        split=split,
        rows=rows,
        draws=draws,
        posterior_draws=kept.draws,
        sequences=len(run.splits[split]),
        replicated=len(kept.rows),
        verdict=_verdict(run, k, draws, rows, judged.lengths),
        k=k,
        efficiency=diagnostics.effective_sample_size(log_w) / draws,
        gap=diagnostics.gap_per_frame(log_w, judged.lengths),
        latent_nats=nats,
        reconstruction=float(log_w.mean(0).sum()) / judged.num_frames + nats,
        activities=active,
        classes={name: use.to_dict() for name, use in used.items()},
        calibration=None if tested.calibration is None else tested.calibration.to_dict(),
        gaps=None if tested.gaps is None else tested.gaps.to_dict(),
        p_values=p_values,
        paths=paths,
    )
    _draw_figures(run, found, used, tested, folder / FIGURES, seed)
    paths["check"] = folder / NAME
    return found


def _verdict(run: Run, k: np.ndarray, draws: int, rows: np.ndarray, lengths: np.ndarray) -> str:
    """Whether the guide can be trusted, in words."""
    if run.model.traits.latents == "none":
        return EXACT
    if run.guide.traits.codebook:
        return CERTAIN
    return diagnostics.verdict(k, draws=draws, rows=rows, over_time=bool(lengths.max() > 1))


def _classes(run: Run, split: str, seed: int) -> dict[str, ClassUse]:
    """The use of classes by the latents, on as many sequences as take some seconds."""
    if not any(site.classes for site in run.model.latents.values()):
        return {}
    sequences = run.splits[split]
    work = weighing(run.model, run.guide, sequences).of(CLASS_DRAWS)
    some = sequences.select(judged_rows(sequences.lengths, work))
    expected = expected_latents(run.model, run.guide, some, draws=CLASS_DRAWS, seed=seed)
    return class_use(expected, run.model.latents, shared=run.guide.traits.codebook)


@access_in_words(RunFolderError)
def last_check(run: Run, split: str) -> dict[str, Any] | None:
    """The last check as `Check.to_dict`; None if it was of other weights or of another split.

    Args:
        run: a fitted model and guide.
        split: name of the split.
    """
    path = run.folder.path / NAME
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    same = found["split"] == split and found.get("checkpoint") == run.checkpoint
    return found if same and "class_use" in found else None


def _place(run: Run) -> Path:
    """Folder for the files of a check; checks on other data have their own."""
    if run.data.other is None:
        return run.folder.path
    return run.folder.path / f"check-{run.splits.info.name}"


def _check_model(
    run: Run, split: str, kept: Kept, seed: int, paths: dict[str, Path], progress: Progress
) -> dict[str, dict[str, float]]:
    """Store draws, compare data with replicates, draw the figure; returns the p-values."""
    which = {"rows": kept.rows, "draws": kept.draws, "seed": seed}
    given = {"split": split, "flat": kept.flat, "progress": partial(progress, "draws to keep")}
    tree = compact_tree(run.model, run.guide, run.splits, **which, **given)
    write_netcdf(tree, paths["posterior"])
    totals = scores_totals(run.model)
    data = predictive.observed(run.splits, split, totals=totals, **which)
    replicates = {"posterior": predictive.posterior_replicates(tree, run.splits, totals=totals)}
    if isinstance(run.model, StepModel):
        replicates["ancestral"] = predictive.prior_replicates(
            run.model, run.splits, split, progress=partial(progress, "replicates"), **which
        )
    p_values = {kind: predictive.p_values(data, drawn) for kind, drawn in replicates.items()}
    paths["predictive"] = paths["posterior"].with_name(FIGURES) / "predictive.png"
    plots.save(plots.predictive_checks(data, replicates, p_values), paths["predictive"])
    return p_values


def _draw_figures(
    run: Run,
    found: Check,
    used: dict[str, ClassUse],
    tested: GuideFindings,
    folder: Path,
    seed: int,
) -> None:
    """Draw the other figures and add their paths to the check."""
    drawn: dict[str, Figure] = {}
    if found.verdict not in (EXACT, CERTAIN):
        drawn["guide"] = plots.guide_quality(found.rows, found.k, found.efficiency, found.gap)
    if units := {name: each for name, each in found.activities.items() if name not in used}:
        drawn["units"] = active_units(units)
    if used:
        drawn["classes"] = class_shares(used)
    drawn |= tested.figures()
    if isinstance(run.model, StepModel) and isinstance(run.guide, StepGuide):
        drawn["example"] = _example(run.model, run.guide, run.splits, found.split, seed)
    if run.folder.metrics.is_file():
        drawn["learning"] = plots.learning_curve(run.folder.metrics, run.objective.headline)
    for name, figure in drawn.items():
        found.paths[name] = folder / f"{name}.png"
        plots.save(figure, found.paths[name])


def _example(model: StepModel, guide: StepGuide, splits: Data, split: str, seed: int) -> Figure:
    """A sequence beside its one-step prediction; of rows that are pictures, reconstructions."""
    info, sequences = splits.info, splits[split]
    if info.image_shape and info.max_length == 1 and model.latents:
        made = reconstruct(model, guide, sequences, seed=seed)
        rows = {"observed": made.observed, "reconstructed": made.expected}
        return pictures(rows, info, f"rows of the {split} split")
    example = sequences.batch([0])
    example = beginning(example, example.lengths.clamp(max=EXAMPLE_FRAMES))
    expected = expected_frames(model, guide, example, seed=seed)
    shown = {"observed": example.x, "expected one\nframe before": expected}
    rows = {name: sequences.uncentred(x)[0].numpy() for name, x in shown.items()}
    return pictures(rows, info, f"{split} sequence 0")
