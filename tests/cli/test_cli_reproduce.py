"""`pyrodgm reproduce`: the command around the tables."""

import json

import pytest

from pyrodgm import reproduce
from pyrodgm.reproduce.reading import read_tables
from pyrodgm.reproduce.table import Cell, PaperTable
from pyrodgm.tables import Measured
from pyrodgm_cli.reproduce import command
from tiny import tiny_values


@pytest.fixture
def tiny_table(tiny, monkeypatch):
    made = PaperTable(
        name="tiny",
        title="One model",
        metrics={"bound": "nats"},
        better={"bound": "higher"},
        cells=(Cell("A", "ours", tiny_values(tiny)),),
        measure=lambda run: {"bound": Measured(run.evaluate("test").nats_per_frame)},
        baselines=lambda _: {"chance": {"bound": Measured(-9.0)}},
        published={"A": {"bound": "-7.00"}},
    )
    monkeypatch.setitem(reproduce.TABLES, "tiny", made)


def test_a_table_is_printed_and_kept(cli, tiny_table, tmp_path):
    said = cli("reproduce", "tiny", "--out", tmp_path / "t")
    assert said.code == 0, said.err
    assert "-7.00" in said.out
    assert "chance" in said.out
    assert "A, ours, seed 0 (1 of 1)" in said.err
    assert (tmp_path / "t" / "full" / "results.csv").is_file()
    read = cli("reproduce", "tiny", "--out", tmp_path / "t", "--json")
    assert json.loads(read.out)["outcomes"][1]["row"] == "A"
    assert "training" not in read.err, "the second call only reads"


def test_the_default_folder_is_named_after_the_table(cli, tiny_table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("reproduce", "tiny", "--quick").code == 0
    assert (tmp_path / "reproductions" / "tiny" / "quick" / "table.md").is_file()


def test_no_seeds_are_refused(cli, tiny_table, tmp_path):
    said = cli("reproduce", "tiny", "--seeds", 0, "--out", tmp_path / "it")
    assert said.code == 2
    assert "seeds is 0; give at least 1" in said.err


def test_wrong_names_are_refused_with_a_hint(cli, tiny_table):
    said = cli("reproduce", "tsbn-ball")
    assert said.code == 2
    assert "did you mean 'tsbn-balls'?" in said.err
    assert "no row 'B'" in cli("reproduce", "tiny", "--row", "B").err


def test_help_names_every_table():
    said = " ".join(command.help.split())
    assert all(name in said for name in read_tables())
