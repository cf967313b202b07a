"""Runs that are killed, and whether a resumed one equals one that never was."""

import torch
from safetensors.torch import load_file

from pyrodgm.storage import checkpoint
from pyrodgm.storage.folder import RunFolder
from tiny import metrics


class Killed(BaseException):
    """What a SIGKILL is to this process: nothing more is written."""


class Killer:
    """A watcher that kills after a step."""

    def __init__(self, step):
        self.step = step

    def on_data(self, splits):
        pass

    def on_start(self, run, options, first_step, seconds):
        pass

    def on_progress(self, progress):
        if progress.step == self.step:
            raise Killed

    def on_evaluation(self, step, valid, best):
        pass

    def on_end(self, reason):
        pass


def without_seconds(value):
    """Nested plain values in a form that can be compared, tensors by their bytes."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    if isinstance(value, list | tuple):
        return [without_seconds(v) for v in value]
    return (str(value.dtype), value.tolist()) if torch.is_tensor(value) else value


def contents(path):
    """All that a run came to."""
    folder = RunFolder.open(path)
    newest = folder.latest()
    return {
        "newest": newest.name,
        "weights": without_seconds(load_file(newest / checkpoint.WEIGHTS)),
        "best weights": without_seconds(load_file(folder.best() / checkpoint.WEIGHTS)),
        "state": without_seconds(checkpoint.read_state(newest)),
        "metrics": without_seconds(metrics(path)),
        "best": folder.best().name,
    }


def assert_same_run(one, other):
    first, second = contents(one), contents(other)
    for name in first:
        assert first[name] == second[name], name
