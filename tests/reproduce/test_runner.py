"""Tables: every cell once, resumed where stopped, and shown beside the paper's numbers."""

import csv
import json
import math

import pytest

from pyrodgm.errors import Interrupted, UsageError
from pyrodgm.reproduce import TABLES, present
from pyrodgm.reproduce.runner import Outcome, reproduce
from pyrodgm.reproduce.spread import STATISTICS
from pyrodgm.reproduce.table import Cell, PaperTable
from pyrodgm.setup.config import resolve
from pyrodgm.setup.settings import merge
from pyrodgm.tables import Measured
from tiny import tiny_values


@pytest.fixture
def table(tiny):
    """Two models on tiny data; what was measured is remembered in `measured`."""
    measured = []

    def measure(run):
        measured.append(run.folder.path)
        return {"bound": Measured(run.evaluate("test").nats_per_frame, 0.1)}

    values = tiny_values(tiny)
    other = {**values, "model": {"name": "ar"}}
    made = PaperTable(
        name="tiny",
        title="Two models",
        metrics={"bound": "nats"},
        better={"bound": "higher"},
        cells=(
            Cell("A", "published", merge(values, {"objective": {"name": "nvil"}})),
            Cell("A", "ours", values, {"fit": {"steps": 3}}),
            Cell("B", "ours", other),
        ),
        measure=measure,
        baselines=lambda splits: {"nothing": {"bound": Measured(-float(len(splits.test)))}},
        published={"A": {"bound": "-7.00 ± 0.10"}, "C": {"bound": "-8.00"}},
        notes=("A note.",),
    )
    return made, measured


def test_every_cell_runs_once_for_every_seed(table, tmp_path):
    made, measured = table
    first = reproduce(made, tmp_path, seeds=2)
    assert len(measured) == 6
    assert [(o.row, o.protocol, o.seed) for o in first] == [
        ("nothing", "baseline", -1),
        ("A", "published", 0),
        ("A", "published", 1),
        ("A", "ours", 0),
        ("A", "ours", 1),
        ("B", "ours", 0),
        ("B", "ours", 1),
    ]
    again = reproduce(made, tmp_path, seeds=2)
    assert len(measured) == 6, "what is finished is not done again"
    assert [o.to_dict() for o in again] == [o.to_dict() for o in first]
    third = reproduce(made, tmp_path, seeds=3, rows=("B",))
    assert len(measured) == 7
    assert third[-1].seed == 2


def test_a_cell_that_was_stopped_goes_on(table, tmp_path, monkeypatch):
    made, measured = table

    class Stop:
        def on_data(self, *_):
            pass

        def on_start(self, *_):
            pass

        def on_progress(self, progress):
            if progress.step == 7:
                raise KeyboardInterrupt

        def on_evaluation(self, *_):
            pass

        def on_end(self, *_):
            pass

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        reproduce(made, tmp_path, rows=("B",), watcher=Stop())
    assert not measured
    stopped = reproduce(made, tmp_path, rows=("B",))
    whole = reproduce(made, tmp_path / "other", rows=("B",))
    assert stopped[-1].numbers == whole[-1].numbers
    assert stopped[-1].steps == 12


def test_quick_runs_are_apart_and_smaller(table, tmp_path):
    made, _ = table
    quick = reproduce(made, tmp_path, rows=("A",), quick=True)
    assert quick[-1].steps == 3
    assert reproduce(made, tmp_path, rows=("A",))[-1].steps == 12


def test_a_changed_table_is_not_mixed_with_old_results(table, tmp_path):
    made, _ = table
    reproduce(made, tmp_path, rows=("B",))
    kept = next(tmp_path.glob("full/b-*/seed-0/result.json"))
    cells = tuple(
        Cell(c.row, c.protocol, merge(c.config, {"fit": {"lr": 0.5}})) for c in made.cells
    )
    changed = PaperTable(**{**made.__dict__, "cells": cells})
    with pytest.raises(UsageError, match="another configuration"):
        reproduce(changed, tmp_path, rows=("B",))
    kept.unlink()  # as though it had been stopped before its end
    with pytest.raises(UsageError, match="another configuration"):
        reproduce(changed, tmp_path, rows=("B",))
    assert reproduce(made, tmp_path, rows=("B",))


def test_one_protocol_alone(table, tmp_path):
    found = reproduce(table[0], tmp_path, protocol="published")
    assert {o.protocol for o in found} == {"baseline", "published"}


def test_unknown_rows_are_refused(table, tmp_path):
    with pytest.raises(UsageError, match="no row 'D'"):
        reproduce(table[0], tmp_path, rows=("D",))
    with pytest.raises(UsageError, match="B has nothing under the protocol 'published'"):
        reproduce(table[0], tmp_path, rows=("B",), protocol="published")


def test_a_training_that_does_not_stay_finite_costs_its_own_cell_alone(table, tmp_path):
    made, _ = table
    wild, *others = made.cells
    # The first step is finite, and with it the parameters are where nothing is.
    wild = Cell(wild.row, wild.protocol, merge(wild.config, {"fit": {"lr": 1e38}}))
    found = reproduce(PaperTable(**{**made.__dict__, "cells": (wild, *others)}), tmp_path)
    failed, *fine = found[1:]
    assert failed.numbers == {}
    assert "step" in failed.failure
    assert all(o.numbers and not o.failure for o in fine)
    assert Outcome.from_dict(failed.to_dict()) == failed
    assert present.markdown(made, found)


def test_a_part_of_a_table_leaves_the_rest_as_it_was(table, tmp_path):
    made, _ = table
    whole = reproduce(made, tmp_path, seeds=2)
    again = reproduce(made, tmp_path, rows=("B",))
    assert [o.to_dict() for o in again] == [o.to_dict() for o in whole]


def test_baselines_stand_there_once(table, tmp_path):
    """Options that only training sees make other data of it, and the same baselines."""
    made, _ = table
    cells = [
        Cell("B", "ours", merge(made.cells[2].config, {"data": {"split_seed": seed}}), variant=name)
        for seed, name in enumerate("xy")
    ]
    found = reproduce(PaperTable(**{**made.__dict__, "cells": tuple(cells)}), tmp_path)
    assert [o.row for o in found if o.protocol == "baseline"] == ["nothing"]


def outcomes():
    return [
        Outcome("nothing", "baseline", -1, {"bound": Measured(-9.0)}),
        Outcome("A", "published", 0, {"bound": Measured(-7.5, 0.2)}, 5, 10.0),
        Outcome("A", "ours", 0, {"bound": Measured(-6.0, 0.2)}, 5, 10.0),
        Outcome("A", "ours", 1, {"bound": Measured(-5.0, 0.2)}, 5, 30.0),
    ]


def shown(table, outcomes):
    (block,) = present.tables(table, outcomes)
    return block.header, block.cells


def test_the_table_stands_beside_the_paper(table):
    made, _ = table
    header, rows = shown(made, outcomes())
    assert header[:4] == ["nats", "paper", "paper's protocol", "ours"]
    assert len({len(header), *map(len, rows)}) == 1
    by_name = {row[0]: row[1:] for row in rows}
    # Two seeds: their mean, and the standard error of it over seeds.
    assert by_name["A"] == ["-7.00 ± 0.10", "-7.500 ± 0.200", "-5.500 ± 0.500", "10", "20"]
    assert by_name["C"] == ["-8.00", "", "", "", ""]
    assert by_name["nothing"] == ["", "", "-9.000", "", ""]
    assert "- A note." in present.markdown(made, outcomes())


@pytest.mark.parametrize(("better", "order"), [("higher", "BCA"), ("lower", "ACB")])
def test_the_best_row_stands_first_and_what_was_not_trained_last(table, better, order):
    found = [
        *(Outcome(row, "baseline", -1, {"bound": Measured(n)}) for row, n in [("x", 0), ("y", -9)]),
        Outcome("A", "ours", 0, {"bound": Measured(-10.0)}),
        Outcome("B", "ours", 0, {"bound": Measured(-5.0)}),
    ]
    made = PaperTable(
        **{**table[0].__dict__, "better": {"bound": better}, "published": {"C": {"bound": "-8"}}}
    )
    _, rows = shown(made, found)
    assert "".join(row[0] for row in rows) == order + ("xy" if better == "higher" else "yx")


def test_columns_without_numbers_are_left_out(table):
    made, _ = table
    header, rows = shown(made, outcomes()[2:])
    assert "paper's protocol" not in header
    assert "ours" in header
    assert all(len(row) == len(header) for row in rows)


def test_what_has_no_number_is_left_out(table):
    found = [*outcomes()[1:], Outcome("nothing", "baseline", -1, {"bound": Measured(math.nan)})]
    assert "nothing" not in [row[0] for row in shown(table[0], found)[1]]


def test_what_was_finished_before_is_shown_with_the_rest(table, tmp_path):
    made, measured = table
    reproduce(made, tmp_path, rows=("B",))
    found = reproduce(made, tmp_path, rows=("A",), protocol="ours")
    assert [(o.row, o.protocol) for o in found[1:]] == [("A", "ours"), ("B", "ours")]
    assert len(measured) == 2


def test_results_land_as_csv_and_json(table, tmp_path):
    made, _ = table
    paths = present.write(made, outcomes(), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["results.csv", "results.json", "table.md"]
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["-9.0", "-7.5", "-6.0", "-5.0"]
    assert rows[0]["standard_error"] == ""
    read = [Outcome.from_dict(o) for o in json.loads(paths[1].read_text())["outcomes"]]
    assert read[1:] == outcomes()[1:]
    assert math.isnan(read[0].numbers["bound"].error)


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name, monkeypatch, tmp_path):
    """Every cell is a valid configuration, in both sizes, of a run folder of its own."""
    made = TABLES[name]
    assert set(made.better) == set(made.metrics)
    printed = set(made.metrics)
    if made.settings:
        printed = {"runs", *(f"{metric} {name}" for metric in printed for name in STATISTICS)}
        assert set(made.good) == set(made.metrics)
    for row, numbers in made.published.items():
        assert set(numbers) <= printed, row
    places = set()
    for cell in made.cells:
        for changes in ({}, cell.quick):
            config = resolve(merge(cell.config, changes))
            assert config.model.name in cell.config["model"]["name"]
        places.add((cell.row, cell.protocol, cell.variant))
    assert len(places) == len(made.cells)
    numbers = dict.fromkeys(made.metrics, Measured(-1.0, 0.1))
    done = [Outcome(cell.row, cell.protocol, 0, numbers) for cell in made.cells]
    for row in made.published:  # whatever a paper prints, the last step of hours must not fail
        assert f"| {row} |" in present.markdown(made, done)
