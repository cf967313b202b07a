"""The table of draws from a model beside data."""

from __future__ import annotations

from pyrodgm.evaluate.samples.kernel_test import KernelTest
from pyrodgm.evaluate.samples.modes import WITHIN
from pyrodgm.evaluate.samples.quality import MODEL, TRAIN, Looks, Quality
from pyrodgm.tables import Cell, Column, Measured, Table


def quality_table(found: Quality) -> Table:
    """Draws from a model beside training rows, by known modes, a classifier and kernel tests.

    Args:
        found: from `Run.sample_quality`.
    """
    named = {MODEL: "draws", TRAIN: "training rows", **found.names}
    others = [name for name in found.looks if name not in named]
    named |= {name: f"{name} rows" for name in others}
    rows = [[named[name], *_looks(each, found.split)] for name, each in found.looks.items()]
    if found.expected is not None:
        rows.append(["exact draws", *found.expected, *[None] * (len(rows[0]) - 3)])
    columns = [
        Column("rows"),
        Column("covered modes", digits=2),
        Column("realistic"),
        Column("score", digits=2),
        Column(f"MMD² to {found.split}", digits=2),
        Column("p"),
        Column("MMD² to train", digits=2),
        Column("p"),
    ]
    return Table(columns, rows, marked=[0], notes=_notes(found)).without_blanks()


def _notes(found: Quality) -> list[str]:
    """What the columns are."""
    notes = []
    if found.expected is not None:
        each = next(each.coverage for each in found.looks.values() if each.coverage)
        notes.append(
            f"Covered: of {len(each.shares)} modes, those with one of {each.size} draws within "
            f"{WITHIN:g} standard deviations. Realistic: share of draws within these of a mode."
        )
    if found.classes:
        right = "" if found.accuracy is None else f", right on {100 * found.accuracy:.1f} % of"
        notes.append(
            f"Inception-style score: from 1 to {found.classes}, by a classifier trained here on "
            f"the {found.labels} of the training rows{right}{right and f' the {found.split} rows'}."
            " It is not comparable with scores by other classifiers."
        )
    size = min(test.rows for each in found.looks.values() for test in each.tests.values())
    notes.append(
        f"MMD²: unbiased squared maximum mean discrepancy of {size} rows each, times 1000; p: the "
        "share of permutations with a larger one."
    )
    if found.reconstruction is not None:
        error = Column("").shown(found.reconstruction)
        notes.append(
            f"Mean squared error of reconstructed {found.split} rows, per feature, from one draw "
            f"of the latents: {error}."
        )
    return notes


def _looks(each: Looks, split: str) -> list[Cell]:
    """What was measured of one set of rows, as cells."""
    modes: list[Cell] = [None, None]
    if each.coverage is not None:
        modes = [each.coverage.covered, each.coverage.realistic]
    training = None if split == TRAIN else each.tests.get(TRAIN)
    return [*modes, each.score, *_test(each.tests.get(split)), *_test(training)]


def _test(found: KernelTest | None) -> list[Cell]:
    """A discrepancy, times 1000, and its p-value."""
    if found is None:
        return [None, None]
    return [Measured(1000 * found.discrepancy.value, 1000 * found.discrepancy.error), found.p_value]
