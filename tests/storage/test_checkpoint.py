import errno
import os
import pickle

import pytest
import torch
from torch import nn

from pyrodgm.errors import CheckpointError
from pyrodgm.storage import checkpoint


class Ragged(nn.Linear):
    """A module with state beside its tensors."""

    def __init__(self):
        super().__init__(2, 2)
        self.memory = {"rows": torch.arange(3), "size": 3}

    def get_extra_state(self):
        return self.memory

    def set_extra_state(self, state):
        self.memory = state


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = self.one


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints" / "step-00000001"


def test_weights_and_state_come_back(folder):
    module, state = Ragged(), {"step": 3, "tensor": torch.eye(2), "list": [1, None, "a"]}
    checkpoint.write(folder, {"it": module}, state)
    other = Ragged()
    other.memory = {}
    checkpoint.read_weights(folder, {"it": other})
    assert torch.equal(other.weight, module.weight)
    assert torch.equal(other.memory["rows"], torch.arange(3))
    read = checkpoint.read_state(folder)
    assert (read["step"], read["list"]) == (3, [1, None, "a"])
    assert torch.equal(read["tensor"], torch.eye(2))


def test_modules_are_kept_apart(folder):
    modules = {"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2)}
    checkpoint.write(folder, modules, {})
    read = {"a": nn.Linear(2, 2), "ab": nn.Linear(2, 2)}
    checkpoint.read_weights(folder, read)
    assert all(torch.equal(read[name].weight, modules[name].weight) for name in modules)


def test_tied_weights_can_be_kept(folder):
    module, other = Tied(), Tied()
    checkpoint.write(folder, {"it": module}, {})
    checkpoint.read_weights(folder, {"it": other})
    assert torch.equal(other.two.weight, module.one.weight)


@pytest.mark.parametrize("target", ["save_file", "torch.save", "os.fsync"])
def test_a_full_disk_leaves_earlier_checkpoints(folder, monkeypatch, target):
    checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"pyrodgm.storage.checkpoint.{target}", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
        checkpoint.write(folder.with_name("step-00000002"), {"it": nn.Linear(2, 2)}, {})
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_kill_while_writing_leaves_nothing_that_looks_whole(folder, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("pyrodgm.storage.checkpoint.torch.save", killed)
        with pytest.raises(Killed):
            checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {})
    assert not folder.exists()
    checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {})
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def scribble(path):
    path.write_bytes(b"\x00" * 100)


@pytest.mark.parametrize("damage", [cut, scribble, lambda path: path.unlink()])
@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.STATE])
def test_damage_is_named(folder, damage, name):
    checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {"step": 1})
    damage(folder / name)
    with pytest.raises(CheckpointError, match="cannot read checkpoint") as caught:
        checkpoint.read_weights(folder, {"it": nn.Linear(2, 2)})
    assert str(folder) in str(caught.value)


def test_weights_of_another_model_are_refused(folder):
    checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {})
    with pytest.raises(
        CheckpointError, match=r"of another shape: bias \(\(2,\), not \(3,\)\), weight"
    ):
        checkpoint.read_weights(folder, {"it": nn.Linear(2, 3)})


class Evil:
    def __reduce__(self):
        return (print, ("run!",))


def test_no_program_in_a_state_file_runs(folder, capsys):
    checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {"step": 1})
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))):
        save({"step": Evil(), "extra": {}}, folder / checkpoint.STATE)
        with pytest.raises(CheckpointError):
            checkpoint.read_state(folder)
    assert "run!" not in capsys.readouterr().out


def test_all_files_can_be_read_by_whoever_may_read_the_others(folder):
    before = os.umask(0o022)
    try:
        checkpoint.write(folder, {"it": nn.Linear(2, 2)}, {"step": 1})
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
