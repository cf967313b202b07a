"""Files and folders that may not be read or written: named in an error of ours, and left whole."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import pyrodgm as dgm
from pyrodgm.errors import CheckpointError, DataError, PyrodgmError, UsageError
from pyrodgm.figures.samples_file import save_samples
from pyrodgm.report import write_report
from pyrodgm.runs.check import check, last_check
from pyrodgm.runs.fitting import fit_config
from pyrodgm.setup.config import resolve
from pyrodgm.storage.checkpoint import STATE, WEIGHTS
from tiny import blank_figures, ragged, tiny_values

pytestmark = pytest.mark.usefixtures("without_drawing")

NOBODY = 65534
LITTLE = {"draws": 30, "posterior_draws": 3, "sequences": 2}
WORDS = r"no permission for .*\(Permission denied\)|cannot .*Permission denied"


@pytest.fixture(scope="module")
def whole():
    """A run in a place that anybody may reach, as pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        top.chmod(0o777)
        np.savez(top / "tiny.npz", **ragged())
        values = tiny_values(top / "tiny.npz", lr_schedule="plateau")
        fit_config(resolve(values), top / "whole")
        with blank_figures():
            check(dgm.Run.load(top / "whole"), **LITTLE)  # what is imported late is imported now
            write_report(dgm.Run.load(top / "whole"), top / "warm.html", with_check=False)
        yield top / "whole"


@pytest.fixture
def run(whole):
    """A copy of its folder that a test may lock."""
    path = whole.parent / "run"
    shutil.copytree(whole, path)
    open_up(path)
    yield path
    path.chmod(0o777)
    (path / "checkpoints").chmod(0o777)
    open_up(path)
    shutil.rmtree(path)


@pytest.fixture
def unprivileged():
    """Without the rights of root, whom permissions do not bind."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield
    if root:
        os.seteuid(0)


@contextmanager
def owner():
    """With the rights of whom the files belong to."""
    before = os.geteuid()
    os.seteuid(os.getuid())
    yield
    os.seteuid(before)


def open_up(path):
    for each in [path, *path.rglob("*")]:
        each.chmod(0o777)


def lock(path):
    """Take away all permissions."""
    with owner():
        path.chmod(0)


def make_read_only(path):
    """Take the permission to write from a folder and all that is in it."""
    with owner():
        for each in [path, *path.rglob("*")]:
            each.chmod(0o555)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("part", [".", "config.toml", "environment.json", "checkpoints", "best"])
def test_a_run_that_may_not_be_read_is_called_that(part, run, unprivileged):
    lock(run / part)
    calls = [lambda: dgm.Run.load(run), lambda: dgm.resume(run, steps=20)]
    for call in calls[:1] if part == "best" else calls:  # which a training writes anew
        with pytest.raises(PyrodgmError, match=WORDS) as caught:
            call()
        assert "damaged" not in str(caught.value)
        assert "no checkpoint yet" not in str(caught.value)


@pytest.mark.parametrize("file", [WEIGHTS, STATE])
def test_nobody_is_told_to_remove_a_checkpoint_that_may_not_be_read(file, run, unprivileged):
    for path in (run / "checkpoints").glob(f"*/{file}"):
        lock(path)
    with pytest.raises(CheckpointError, match=WORDS) as caught:
        dgm.Run.load(run)
    assert "Remove" not in str(caught.value)


@pytest.mark.parametrize("part", ["metrics.jsonl", "check.json"])
def test_what_is_asked_of_a_run_later_is_called_that_too(part, run, unprivileged):
    lock(run / part)
    loaded = dgm.Run.load(run)
    with pytest.raises(PyrodgmError, match=WORDS):
        loaded.metrics() if part == "metrics.jsonl" else last_check(loaded, "test")


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_data_that_may_not_be_read_is_called_that(locked, run, unprivileged):
    path = run / "data" / "tiny.npz"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    np.savez(path, **ragged())
    lock(path if locked == "file" else path.parent)
    for source in (path, str(path)):
        with pytest.raises(DataError, match=WORDS):
            dgm.data.load(source)


def test_a_run_that_may_not_be_written_can_be_checked_and_reported_elsewhere(run, unprivileged):
    make_read_only(run)
    before, loaded = names(run), dgm.Run.load(run)
    with tempfile.TemporaryDirectory() as elsewhere:
        place = Path(elsewhere, "below", "check")
        found = check(loaded, split="valid", out=place, **LITTLE)
        assert names(place) == sorted(
            ["figures", *(str(path.relative_to(place)) for path in found.paths.values())]
        )
        page = write_report(loaded, Path(elsewhere, "page.html"), split="valid")
        assert page.read_text().count("data:image/png") > 4
        assert loaded.evaluate().examples == 6
        loaded.save(Path(elsewhere, "saved"))
    assert names(run) == before


@pytest.mark.parametrize(
    "write",
    [
        lambda run: check(run, **LITTLE),
        lambda run: write_report(run, with_check=False),
        lambda run: run.save(run.folder.path.parent / "run" / "figures" / "saved"),
        lambda run: dgm.resume(run.folder.path, steps=20),
        lambda run: save_samples(
            run.sample(2, 3)["x"], run.splits.info, run.folder.path / "samples.npz"
        ),
    ],
    ids=["check", "report", "save", "resume", "sample"],
)
def test_what_may_not_be_written_is_said_before_the_work(write, run, unprivileged, monkeypatch):
    make_read_only(run)
    before, loaded = names(run), dgm.Run.load(run)
    with pytest.raises((UsageError, CheckpointError), match=f"{WORDS}|is within"):
        write(loaded)
    assert names(run) == before


def test_a_place_below_a_file_is_named(whole):
    loaded, place = dgm.Run.load(whole), whole / "config.toml" / "below"
    with pytest.raises(UsageError, match=r"cannot make the folder .*config\.toml"):
        check(loaded, out=place, **LITTLE)
    with pytest.raises(UsageError, match="there is no folder"):
        write_report(loaded, place / "page.html", with_check=False)


def test_commands_say_it_in_one_line(run, unprivileged, cli):
    make_read_only(run)
    said = cli("check", run, "--draws", 30)
    assert (said.code, said.out) == (2, "")
    assert f"no permission for {run}" in said.err
    assert "Traceback" not in said.err
    lock(run)
    said = cli("evaluate", run)
    assert (said.code, said.out) == (2, "")
    assert "no permission for" in said.err
