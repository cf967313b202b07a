"""Measures of draws beside data: of fitted runs, and of baselines that need no game."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pyrodgm.data.base import Splits
from pyrodgm.errors import DataError
from pyrodgm.evaluate.likelihood.ais import Chains
from pyrodgm.evaluate.samples.modes import SETS, SIZE
from pyrodgm.evaluate.samples.quality import GUIDE, MODEL, REVISED, TRAIN, Quality, compared
from pyrodgm.evaluate.trivial.normal_mixture import NormalMixture, fit_mixture
from pyrodgm.reproduce.table import Numbers
from pyrodgm.runs.run import Run
from pyrodgm.seeds import numpy_generator
from pyrodgm.tables import Measured

OF_MODES = ("covered", "realistic")


def draws(run: Run, *, error_at_most: float = math.inf) -> Numbers:
    """Draws from the model of a run beside the test rows; see `Run.sample_quality`.

    Args:
        run: a fitted run.
        error_at_most: the number that larger errors of reconstructions, and NaN, are replaced by.

    Returns:
        "covered" modes and "realistic" share if modes are known, "score" of a classifier if there
        are classes, "mmd" (squared, times 1000), "error" of reconstructions if there are latents,
        and "revised covered" and "revised realistic" of draws that a critic has revised.
    """
    quality = run.sample_quality("test")
    numbers = dict(numbers_of(quality, MODEL))
    if REVISED in quality.looks:
        numbers |= _named("revised", numbers_of(quality, REVISED))
    if "error" in numbers and not numbers["error"].value <= error_at_most:
        numbers["error"] = Measured(error_at_most)
    return numbers


def draws_and_annealing(
    run: Run, *, sequences: int, simulated: int, chains: int, temperatures: int
) -> Numbers:
    """The numbers of `draws`, and the log-likelihood of some test rows by annealing the latents.

    Args:
        run: a fitted run.
        sequences: number of test rows, spread evenly.
        simulated: number of simulated rows, on which the bound is bracketed.
        chains: of every row.
        temperatures: steps of a chain.

    Returns:
        Also, where the model has a density, "log_likelihood", a lower bound in nats per row, for
        all test rows by regression, and "width", of the bracket on simulated rows.
    """
    numbers = draws(run)
    if run.model.traits.density != "normalised":
        return numbers
    found, bound, _ = run.annealed(
        "test", sequences=sequences, simulated=simulated, chains=Chains(chains, temperatures)
    )
    of_some = Measured(bound.nats_per_frame, bound.standard_error_nats_per_frame)
    numbers = {**numbers, "log_likelihood": found.whole or of_some}
    assert found.simulated is not None
    width = found.simulated.to_dict()
    error = width["standard_error_width"]
    return {
        **numbers,
        "width": Measured(width["width_nats_per_example"], math.nan if error is None else error),
    }


def fields(run: Run) -> Numbers:
    """Draws of a field in the plane, and the divergences of its density from the true one.

    Returns:
        "covered" modes and "realistic" share of its draws, or of those that stand for them; the
        same of its guide before revision, "guide covered" and "guide realistic", if there is one;
        "kl" from the true density to that of the field, and "reverse kl", in nats.
    """
    quality, plane = run.sample_quality("test"), run.landscape()
    numbers = {k: v for k, v in numbers_of(quality, MODEL).items() if k in OF_MODES}
    if GUIDE in quality.looks:
        numbers |= _named("guide", numbers_of(quality, GUIDE))
    if plane is not None and plane.kl_to_learned is not None and plane.kl_to_true is not None:
        numbers["kl"] = Measured(plane.kl_to_learned)
        numbers["reverse kl"] = Measured(plane.kl_to_true)
    return numbers


def _named(whose: str, numbers: Numbers) -> Numbers:
    """The numbers of known modes, under names that say whose draws they are of."""
    return {f"{whose} {name}": numbers[name] for name in OF_MODES if name in numbers}


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
    """The numbers of exact draws, of a normal mixture fitted by EM, and of the training rows.

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


def rows_as_draws(splits: Splits) -> Mapping[str, Numbers]:
    """The numbers of the training rows themselves, as if a model had drawn them."""
    found = compared(splits.train.x.double().numpy(), splits.info, splits.test, splits.train)
    return {"training rows": numbers_of(found, TRAIN)}


def trivial_reconstructions(splits: Splits) -> Mapping[str, Numbers]:
    r"""Errors of reconstructions that do not depend on the row, of test rows and per feature.

    .. math:: \tfrac1D E \lVert x - \bar x \rVert^2, \qquad
        \tfrac1D E \lVert x - x' \rVert^2 = \tfrac1D E \lVert x - \bar x \rVert^2
        + \tfrac1D \sum_d \mathrm{var}\, x'_d

    with x' a random training row, as of a model whose draws are perfect and whose latents hold no
    information on x.
    """
    train, test = splits.train.x.double().numpy(), splits.test.x.double().numpy()
    each = np.square(test - train.mean(0)).mean(1)
    of_mean = Measured(float(each.mean()), float(each.std(ddof=1)) / math.sqrt(len(each)))
    other = Measured(of_mean.value + float(train.var(0).mean()), of_mean.error)
    return {"training mean": {"error": of_mean}, "another training row": {"error": other}}
