import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data import ragged
from pyrodgm.errors import CheckpointError, RunFolderError
from pyrodgm.storage.files import write_arrays, write_text
from pyrodgm.storage.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    made = RunFolder.create(tmp_path / "run")
    made.config.write_text("[model]\nname = 'tsbn'\n")
    return made


def test_an_occupied_folder_is_refused(folder, tmp_path):
    with pytest.raises(RunFolderError, match=r"not empty; choose another --out.*--resume"):
        RunFolder.create(folder.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="is not a directory"):
        RunFolder.create(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot make the folder"):
        RunFolder.create(tmp_path / "file" / "below")


def test_an_empty_folder_may_become_a_run(tmp_path):
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty").checkpoints.is_dir()


def test_what_a_stopped_start_leaves_is_no_run(tmp_path):
    RunFolder.create(tmp_path / "run")
    (tmp_path / "run" / ".config.0a1b2c3d.partial.toml").touch()
    RunFolder.create(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-1").mkdir()
    with pytest.raises(RunFolderError, match="not empty"):
        RunFolder.create(tmp_path / "run")


def test_only_a_run_can_be_continued(tmp_path):
    (tmp_path / "note.txt").write_text("")
    with pytest.raises(RunFolderError, match=r"not empty; choose another --out$"):
        RunFolder.check_free(tmp_path)
    with pytest.raises(RunFolderError, match="/dev/null is not a directory"):
        RunFolder.check_free(Path("/dev/null"))


def test_runs_that_start_together_get_folders_of_their_own(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(RunFolder.create_next(tmp_path / "runs", "a")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(folder.path.name for folder in made) == [f"a-{n:03d}" for n in range(1, 9)]


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunFolderError, match="cannot make a folder in"):
        RunFolder.create_next(tmp_path / "runs", "a")


def test_what_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="there is no run folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunFolderError, match=r"not a run folder: it has no config\.toml"):
        RunFolder.open(tmp_path)


def test_the_environment_comes_back(folder, tiny):
    splits = ragged.read(tiny)
    folder.write_environment(splits, "cpu", {"model": {"class": "TSBN"}})
    environment = folder.made_with
    assert environment["data_sha256"] == splits.sha256
    assert {"torch", "pyro-ppl", "pyrodgm", "python"} <= environment["versions"].keys()
    assert environment["pieces"]["model"] == {"class": "TSBN"}
    assert folder.info == splits.info


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"data": {"dim": 3}}', '{"data": 5}'])
def test_a_damaged_environment_is_named(folder, text):
    folder.environment.write_text(text)
    with pytest.raises(RunFolderError, match="missing or damaged"):
        _ = folder.info


def test_metrics_after_a_step_are_dropped_and_half_a_line_too(folder):
    for step in (5, 10, 15):
        folder.append_metrics({"step": step})
    with folder.metrics.open("a") as file:
        file.write('{"step": 1')
    folder.truncate_metrics(10)
    assert [json.loads(line) for line in folder.metrics.read_text().splitlines()] == [
        {"step": 5},
        {"step": 10},
    ]


def test_the_best_and_the_two_newest_checkpoints_stay(folder):
    for step in (5, 10, 15, 20):
        folder.checkpoint(step).mkdir()
    folder.mark_best(5)
    folder.prune()
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == [
        "step-00000005",
        "step-00000015",
        "step-00000020",
    ]
    assert folder.best() == folder.checkpoint(5)
    assert folder.latest() == folder.checkpoint(20)


def test_without_a_checkpoint_the_way_on_is_shown(folder):
    with pytest.raises(CheckpointError, match=r"no checkpoint yet: .*; continue with: pyrodgm fit"):
        folder.best()
    folder.write_config("[fit]\nsteps = 3\n")
    assert "pyrodgm.resume(" in folder.how_to_resume()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "before")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_text(path, "after")
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_while_recording_is_no_traceback(folder, monkeypatch):
    folder.metrics.mkdir()
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics"):
        folder.append_metrics({"step": 1})

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(CheckpointError, match="No space left"):
        folder.save_batch(Batch.of(torch.ones(1, 2, 3)), 1)


@pytest.mark.parametrize("name", ["x.npz", "x.NPZ", "x"])
def test_arrays_are_written_under_any_name(tmp_path, name):
    write_arrays(tmp_path / name, {"x": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with np.load(tmp_path / name) as found:
        assert found["x"].tolist() == [0, 1, 2]
