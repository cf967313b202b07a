import random
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

from processes import elsewhere
from pyrodgm.errors import UsageError
from pyrodgm.seeds import Stream, forked, numpy_generator, seeded
from tiny import global_state


def draw(*arguments):
    return numpy_generator(*arguments).random()


def test_streams_differ_by_seed_and_by_every_name():
    streams = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (2**70, "a")]
    assert len({draw(*stream) for stream in streams}) == len(streams)
    assert draw(0, "a") == draw(0, "a")


def test_streams_are_the_same_in_another_process():
    """Which hashes strings with another key."""
    assert elsewhere(numpy_generator, 3, "x").random() == draw(3, "x")


def global_draws():
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - the global one


def test_a_stream_goes_on_where_it_stood_and_leaves_all_global_generators_alone():
    pyro.set_rng_seed(1)
    untouched = [global_draws() for _ in range(2)]
    pyro.set_rng_seed(5)
    expected = [global_draws() for _ in range(2)]
    pyro.set_rng_seed(1)
    stream = Stream(5)
    between, drawn = [], []
    for _ in range(2):
        with stream.used():
            drawn.append(global_draws())
        between.append(global_draws())
    assert (drawn, between) == (expected, untouched)


def test_a_stream_goes_on_from_its_state():
    stream, other = Stream(5), Stream(6)
    with stream.used():
        global_draws()
    other.load_state_dict(stream.state_dict())
    with stream.used():
        expected = global_draws()
    with other.used():
        assert global_draws() == expected


@pytest.mark.parametrize("within", [lambda: forked(3, "a"), lambda: seeded(3)])
def test_what_is_drawn_within_depends_on_the_seed_alone(within):
    drawn = []
    for outside in (0, 1):
        pyro.set_rng_seed(outside)
        before = global_state()
        with within():
            drawn.append(global_draws())
        assert global_state() == before
        with pytest.raises(TypeError), within():
            global_draws(1)
        assert global_state() == before
    assert drawn[0] == drawn[1]


def test_seeded_draws_what_a_person_draws_with_that_seed():
    with seeded(7):
        drawn = global_draws()
    pyro.set_rng_seed(7)
    assert global_draws() == drawn


def test_nothing_else_moves_the_global_generators():
    """Only one file knows how."""
    words = ("manual_seed(", "set_rng_state(", "np.random.seed(", "set_rng_seed(", "fork_rng(")
    root = Path(__file__).parents[1]
    for path in [*root.glob("pyrodgm/**/*.py"), *root.glob("cli/*.py")]:
        found = [word for word in words if word in path.read_text()]
        assert not found or path.name == "seeds.py", path


def test_negative_seeds_are_refused():
    with pytest.raises(UsageError, match="seed is -1; give at least 0"):
        numpy_generator(-1)
    with pytest.raises(UsageError, match="seed is -1; give at least 0"):
        Stream(-1)
