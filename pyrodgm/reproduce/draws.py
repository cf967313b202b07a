"""Measures of draws beside data: of fitted runs, and of baselines that need no game."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyrodgm.data.base import Splits
from pyrodgm.errors import DataError
from pyrodgm.evaluate.samples.modes import SETS, SIZE
from pyrodgm.evaluate.samples.quality import MODEL, TRAIN, Quality, compared
from pyrodgm.evaluate.trivial.normal_mixture import NormalMixture, fit_mixture
from pyrodgm.reproduce.table import Numbers
from pyrodgm.runs.run import Run
from pyrodgm.seeds import numpy_generator
from pyrodgm.tables import Measured


def draws(run: Run) -> Numbers:
    """Draws from the model of a run beside the test rows; see `Run.sample_quality`.

    Returns:
        "covered" modes and "realistic" share if modes are known, "score" of a classifier if there
        are classes, "mmd" (squared, times 1000), and "error" of reconstructions if there are
        latents.
    """
    return numbers_of(run.sample_quality("test"), MODEL)


def numbers_of(found: Quality, name: str) -> Numbers:
    """The numbers of one set of rows."""
    looks = found.looks[name]
    numbers: dict[str, Measured] = {}
    if looks.coverage is not None:
        numbers |= {"covered": looks.coverage.covered, "realistic": looks.coverage.realistic}
    if looks.score is not None:
        numbers["score"] = looks.score
    if "test" in looks.tests:
        squared = looks.tests["test"].discrepancy
        numbers["mmd"] = Measured(1000 * squared.value, 1000 * squared.error)
    if name == MODEL and found.reconstruction is not None:
        numbers["error"] = found.reconstruction
    return numbers


def trivial_draws(splits: Splits) -> Mapping[str, Numbers]:
    """The same of exact draws, of a normal mixture fitted by EM, and of the training rows.

    The mixture has as many components as there are modes.

    Raises:
        DataError: modes are not known.
    """
    info = splits.info
    if not info.modes or info.mode_std is None:
        raise DataError(f"the modes of '{info.name}' are not known; exact draws need them")
    count, rng = len(info.modes), numpy_generator(0, "trivial draws")
    covariances = np.tile(info.mode_std**2 * np.eye(info.dim), (count, 1, 1))
    exact = NormalMixture(np.full(count, 1 / count), np.array(info.modes), covariances)
    fitted = fit_mixture(splits.train.x.double().numpy(), count, rng)
    rows = {}
    for name, mixture in (
        ("exact draws", exact),
        (f"mixture of {count} normal distributions, EM", fitted),
    ):
        x = mixture.draw(SETS * SIZE, rng)
        found = compared(x, info, splits.test, splits.train)
        rows[name] = numbers_of(found, MODEL)
        rows["training rows"] = numbers_of(found, TRAIN)
    return rows
