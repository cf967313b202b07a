import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator, seed_everything, torch_generator


def draw(*arguments):
    return numpy_generator(*arguments).random()


def test_streams_differ_by_seed_and_by_every_name():
    streams = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (2**70, "a")]
    assert len({draw(*stream) for stream in streams}) == len(streams)
    assert draw(0, "a") == draw(0, "a")


def test_streams_are_the_same_in_another_process():
    code = "from pyrodgm.seeds import numpy_generator as g; print(g(3, 'x').random())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(other.stdout) == draw(3, "x")


def test_torch_streams():
    def values(*arguments):
        return torch.rand(3, generator=torch_generator(*arguments)).tolist()

    assert values(0, "a") == values(0, "a") != values(0, "b")


def test_seed_everything_repeats_the_global_streams():
    def values():
        seed_everything(5)
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - the global one

    assert values() == values()


def test_negative_seeds_are_refused():
    with pytest.raises(UsageError, match="seed -1 is negative"):
        numpy_generator(-1)
