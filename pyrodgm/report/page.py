"""Assembly of the report of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pyrodgm.access import access_in_words
from pyrodgm.errors import MissingDataError, UsageError
from pyrodgm.evaluate.likelihood.weights import has_weights
from pyrodgm.models import FrameEnergyModel
from pyrodgm.report import facts, figures, latents, machines
from pyrodgm.report.blocks import Page, Section, Text
from pyrodgm.runs.results import Results
from pyrodgm.runs.run import Run
from pyrodgm.storage.files import replacing

NAME = "report.html"


@access_in_words(UsageError)
def write_report(
    run: Run,
    out: str | Path | None = None,
    *,
    split: str = "test",
    with_check: bool = True,
    seed: int = 0,
) -> Path:
    """Write a self-contained HTML page about a run: numbers, figures, configuration, verdict.

    It opens offline: pictures, videos and MIDI files are inside it, and there are no scripts.

    Args:
        run: a fitted model and guide.
        out: the file; by default `report.html` in the run folder. If it is given, nothing is
            written into the run folder, and the files of a new check are not kept.
        split: the split to show, predict and check; bounds are those of valid and test.
        with_check: whether to show the findings of `pyrodgm.runs.check.check`: of the last check of
            the same weights and split, or of a new one.
        seed: of all draws.

    Returns:
        The file.

    Raises:
        UsageError: an unknown split, or a file that cannot be written, or that is data or part of
            the run.
    """
    path = run.folder.path / NAME if out is None else Path(out)
    run.data.refuse_to_replace(path)
    # Before the work, so that a wrong path is reported immediately.
    with replacing(path) as unfinished, tempfile.TemporaryDirectory() as elsewhere:
        files = run.folder.path if out is None else Path(elsewhere)
        page = gather(run, split=split, with_check=with_check, seed=seed, files=files)
        unfinished.write_text(render(page), encoding="utf-8")
    return path


def gather(run: Run, *, split: str, with_check: bool, seed: int, files: Path) -> Page:
    """The page of a run; `files` is the folder for a new check.

    If the data is missing, stored results are used, and other sections that need it are omitted.
    Sections that need a density are omitted for models or guides without one.
    """
    missing = _missing(run, split)
    there, weighted = missing is None, has_weights(run.model, run.guide)
    predicts = weighted or isinstance(run.model, FrameEnergyModel)
    found, figures_of_check = None, files
    if with_check and weighted:
        found, figures_of_check = facts.checked(run, split, files, anew=there)
    results = _results(run)
    sections = [
        facts.fitted(run),
        facts.results_section(run, results),
        *([facts.draws_beside_data(run, split, seed)] if there and not weighted else []),
        facts.learning(run),
        *([figures.prediction(run, split, seed)] if there and predicts else []),
        figures.samples(run, split, seed),
        figures.energy_landscape(run, split, seed),
        *(_of_rows(run, split, seed) if there else []),
        *(_learned(run, split, seed) if there and weighted else []),
        *(machines.sections(run, split, seed) if there else []),
        facts.trust(found, figures_of_check),
        facts.configuration(run),
        facts.environment(run),
    ]
    if missing is not None:
        words = Text(f"Sections that need the data are omitted: {missing}", "note")
        sections.insert(0, Section("Without its data", [words]))
    names = facts.names(run)
    return Page(
        title=f"{names['model']} on {names['data']}",
        lead=f"{_trained(names)}; run {run.folder.path.name}",
        tiles=facts.tiles(run, results, found),
        sections=[section for section in sections if section.blocks],
    )


def _trained(names: Mapping[str, str]) -> str:
    """The guide, if there is one, and the objective."""
    by = f"trained by {names['objective']}"
    return by if names["guide"] in ("none", "NoGuide") else f"{names['guide']} guide, {by}"


def _of_rows(run: Run, split: str, seed: int) -> list[Section]:
    """Sections on rows and their latents, which need no density."""
    sections = [section(run, split, seed) for section in (figures.reconstructions, figures.between)]
    return [
        *sections,
        *(latents.posteriors(run, split, seed) or [figures.latents(run, split, seed)]),
    ]


def _learned(run: Run, split: str, seed: int) -> list[Section]:
    """Sections on latents and on predicted words."""
    return [facts.words(run, split, seed), *latents.sections(run, split, seed)]


def _missing(run: Run, split: str) -> str | None:
    """Why the data of a run is missing; None if it is available.

    Raises:
        UsageError: other data than the run was fitted on, or an unknown split.
    """
    if run.data.other is not None:
        raise UsageError(
            f"a report needs the data that {run.folder.path} was fitted on, but "
            f"'{run.splits.info.name}' is other data; use pyrodgm evaluate, predict and check"
        )
    try:
        run.splits[split]
    except MissingDataError as error:
        return str(error)
    return None


def _results(run: Run) -> Results | None:
    try:
        return run.results()
    except MissingDataError:  # and no results were stored
        return None


def render(page: Page) -> str:
    """The page as HTML, with all text escaped."""
    environment = Environment(
        loader=PackageLoader("pyrodgm.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("template.html")
    return template.render(page=page, version=version("pyrodgm")).lstrip()
