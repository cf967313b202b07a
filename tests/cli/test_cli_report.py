"""The command that writes everything about a run on one page."""

import shutil

import pytest

pytestmark = pytest.mark.usefixtures("without_drawing")


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


def test_report_prints_the_path_of_the_page(cli, run, tmp_path):
    said = cli("report", run, "--no-check")
    assert (said.code, said.out) == (0, f"{run / 'report.html'}\n"), said.err
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    said = cli("report", run, "--no-check", "--out", tmp_path / "a.html", "--split", "valid")
    assert said.out == f"{tmp_path / 'a.html'}\n"
    assert "valid sequence 0" in (tmp_path / "a.html").read_text().lower()


def test_a_check_is_announced_where_none_was_made(cli, run):
    said = cli("report", run)
    assert said.code == 0
    assert "checking guide and model first" in said.err
    assert "can be trusted on" in (run / "report.html").read_text()
    assert "checking" not in cli("report", run).err


def test_a_run_that_was_stopped_before_its_first_evaluation_has_a_report(cli, run):
    (run / "best").unlink()
    said = cli("report", run)
    assert (said.code, said.out) == (0, f"{run / 'report.html'}\n"), said.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--split", "tset"], "unknown split 'tset'; did you mean 'test'?"),
        (["--out", "missing/a.html"], "there is no folder"),
        (["--seed", "-1"], "seed is -1; give at least 0"),
    ],
)
def test_report_refuses(cli, run, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    said = cli("report", run, "--no-check", *words)
    assert (said.code, said.out) == (2, "")
    assert part in said.err
    assert not list(tmp_path.rglob("*.html"))


def test_what_is_no_run_is_refused(cli, tmp_path):
    said = cli("report", tmp_path)
    assert said.code == 2
    assert "not a run folder" in said.err
