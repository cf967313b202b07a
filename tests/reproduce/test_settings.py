"""Tables whose runs have different settings: their order, and the numbers of many runs."""

import json

import pytest

from pyrodgm.data.mixtures import load_gmm5
from pyrodgm.reproduce import TABLES, present
from pyrodgm.reproduce.draws import trivial_reconstructions
from pyrodgm.reproduce.runner import Outcome, reproduce
from pyrodgm.reproduce.settings import Settings
from pyrodgm.reproduce.table import Cell, PaperTable
from pyrodgm.setup.config import resolve
from pyrodgm.setup.settings import merge
from pyrodgm.tables import Measured
from tiny import tiny_values

GRID = Settings(
    {
        "steps": {"few": {"fit": {"steps": 2}}, "many": {"fit": {"steps": 3}}},
        "rate": {"high": {"fit": {"lr": 0.1}}, "low": {"fit": {"lr": 0.01}}},
    },
    runs=3,
    quick_runs=1,
)


def made(values, **changed):
    return PaperTable(**{
        "name": "grid",
        "title": "A grid",
        "metrics": {"score": "score"},
        "better": {"score": "higher"},
        "cells": tuple(Cell(name, "ours", values) for name in ("A", "B")),
        "measure": lambda run: {"score": Measured(float(run.steps))},
        "baselines": lambda _: {"nothing": {"score": Measured(0.0)}},
        "published": {"A, paper": {"runs": "9", "score mean": "1.5", "score share": "7 %"}},
        "settings": GRID,
        "good": {"score": 2.5},
        **changed,
    })  # fmt: skip


def test_seeds_have_all_combinations_before_one_comes_again():
    drawn = [tuple(GRID.labels(seed).values()) for seed in range(8)]
    assert len(set(drawn[:4])) == 4
    assert drawn[4:] == drawn[:4]
    for seed in range(4):
        label, fit = GRID.labels(seed), GRID.values(seed)["fit"]
        assert fit == {
            "steps": {"few": 2, "many": 3}[label["steps"]],
            "lr": {"high": 0.1, "low": 0.01}[label["rate"]],
        }


def test_rows_have_the_same_settings_and_finished_ones_are_kept(tiny, tmp_path):
    table = made(tiny_values(tiny))
    outcomes = reproduce(table, tmp_path)
    trained = [o for o in outcomes if o.protocol == "ours"]
    expected = [GRID.values(seed)["fit"]["steps"] for seed in range(3)]
    for row in ("A", "B"):
        assert [o.steps for o in trained if o.row == row] == expected

    def again(_):
        raise AssertionError("measured twice")

    kept = reproduce(made(tiny_values(tiny), measure=again), tmp_path)
    assert [o.to_dict() for o in kept] == [o.to_dict() for o in outcomes]
    assert len(reproduce(table, tmp_path, quick=True, rows=("A",))) == 2  # with the baseline
    paths = present.write(table, outcomes, tmp_path / "shown")
    assert paths[-1].read_bytes().startswith(b"\x89PNG")
    assert paths[-1].name == "histograms.png"
    listed = json.loads(paths[1].read_text())["settings"]
    assert listed == [GRID.labels(seed) for seed in range(3)]


def test_shares_are_of_all_runs_and_means_of_finite_ones():
    numbers = [1.0, 2.0, 6.0]
    outcomes = [Outcome("A", "ours", i, {"score": Measured(x)}) for i, x in enumerate(numbers)]
    outcomes.append(Outcome("A", "ours", 3, {}, failure="not finite"))
    (shown,) = present.tables(made({}), outcomes)
    assert shown.rows[0] == ["A", 4, 3.0, pytest.approx(7**0.5), 2.0, 0.25, 1]
    assert shown.cells[1][:3] == ["A, paper", "9", "1.5"]


def test_the_rows_of_the_mixture_differ_in_their_objectives_alone():
    table = TABLES["svae-gmm"]
    assert table.settings is not None
    labels = {tuple(table.settings.labels(seed).items()) for seed in range(table.settings.runs)}
    assert len(labels) == table.settings.runs == 64
    found = [
        [resolve(merge(cell.config, table.settings.values(seed))) for cell in table.cells]
        for seed in (0, 1)
    ]
    for configs in found:
        assert all(c.model == configs[0].model for c in configs)
        assert all(c.guide == configs[0].guide for c in configs)
        assert all(c.fit == configs[0].fit for c in configs)
        turns = [
            {key: c.objective.options[key] for key in configs[0].objective.options
             if key in ("critic_dim", "critic_lr", "critic_steps", "generator_steps")}
            for c in configs
        ]  # fmt: skip
        assert all(each == turns[0] for each in turns)
    weights = [c.objective.options.get("cycle_weight", 0.0) for c in found[0]]
    assert weights == [0.0, 0.1, 0.0, 0.1]


def test_trivial_reconstructions_of_the_mixture_are_its_variances():
    rows = trivial_reconstructions(load_gmm5(num_train=20_000, num_test=20_000))
    variance = 3.2 + 0.04  # between and within the modes
    for row, factor in (("training mean", 1), ("another training row", 2)):
        error = rows[row]["error"]
        # The variance of the training rows has an error of its own.
        assert abs(error.value - factor * variance) < 4.3 * factor * error.error
