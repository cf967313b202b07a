"""The homes of state: averages, chains, rows and schedules, against what they should hold."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.carried import Before
from pyrodgm.data.base import Sequences
from pyrodgm.errors import UsageError
from pyrodgm.objectives.schedule import Schedule
from pyrodgm.objectives.state import Chains, RowCache, Running

LENGTHS = np.array([3, 1, 4, 2])


@pytest.fixture
def training():
    return Sequences(np.ones((LENGTHS.sum(), 2), np.uint8), LENGTHS)


def numbered(batch, dim=2):
    """Values that name their row, frame and feature, NaN where padded."""
    frames = torch.arange(batch.length)[:, None] * 10 + torch.arange(dim)
    values = batch.index[:, None, None] * 100.0 + frames
    return values.masked_fill(~batch.mask[..., None], torch.nan)


def test_a_running_average_is_its_formula_and_part_of_the_weights():
    mean = Running(0.8, start=torch.tensor([0.0, 1.0]))
    expected = torch.tensor([0.0, 1.0])
    for n in range(5):
        mean.update(torch.full((2,), float(n), requires_grad=True))
        expected = 0.8 * expected + 0.2 * n
    assert torch.equal(mean.value, expected)
    assert not mean.value.requires_grad
    other = Running(0.8, start=torch.zeros(2))
    other.load_state_dict(mean.state_dict())
    assert torch.equal(other.value, expected)


def test_rows_come_back_in_any_company(training):
    """Written in ragged batches, read in others: each frame has its own value, padding none."""
    cache = RowCache(2)
    cache.begin(training)
    for rows in ([2, 1], [0, 3]):
        batch = training.batch(rows)
        assert not cache.written(batch).any()
        assert not cache.read(batch).any()
        cache.write(batch, numbered(batch))
        assert cache.written(batch).all()
    for rows in ([3, 2, 1, 0], [1], [0, 2]):
        batch = training.batch(rows)
        assert torch.equal(cache.read(batch), numbered(batch).nan_to_num(0))


def test_chunks_of_rows_have_the_values_of_their_frames():
    values = torch.arange(20).reshape(10, 2)
    data = Sequences(values.numpy().astype(np.uint8), LENGTHS)
    cache, batch = RowCache(2, in_chunks=True), data.batch([2, 0])
    cache.begin(data, values)
    assert torch.equal(cache.read(batch), batch.x)
    part = replace(batch.chunk(1, 3), before=Before(1))
    assert torch.equal(cache.read(part), part.x)
    cache.write(part, part.x + 100)
    rest = batch.x + 100 * ((batch.frames > 0) & (batch.frames < 3) & batch.mask)[..., None]
    assert torch.equal(cache.read(batch), rest)
    other = data.batch([1, 3])
    assert torch.equal(cache.read(other), other.x)
    again = RowCache(2, in_chunks=True)
    again.begin(data, values)
    again.load_own_state(cache.own_state())
    assert torch.equal(again.read(batch), rest)
    with pytest.raises(UsageError, match="rows of a batch differ in length"):
        cache.read(replace(batch.chunk(1, 3), before=Before(3)))


def test_a_row_can_have_one_value(training):
    cache = RowCache(per_frame=False, dtype=torch.float64)
    cache.begin(training)
    batch = training.batch([3, 0])
    cache.write(batch, torch.tensor([7.0, 5.0]))
    assert cache.read(training.batch([0, 1, 3])).tolist() == [5.0, 0.0, 7.0]
    assert cache.read(batch).dtype == torch.float64


def test_rows_that_were_written_survive_and_no_others(training):
    first, second = RowCache(2), RowCache(2)
    for cache in (first, second):
        cache.begin(training)
    batch = training.batch([2, 0])
    first.write(batch, numbered(batch))
    state = first.own_state()
    assert state["rows"].tolist() == [0, 2]
    assert len(state["values"]) == 3 + 4
    second.load_own_state(state)
    everything = training.batch(range(4))
    assert torch.equal(second.read(everything), first.read(everything))
    assert second.written(everything).tolist() == [True, False, True, False]
    assert not first.state_dict()  # a fitted model needs none of it


def test_a_copy_has_rows_of_its_own(training):
    cache = RowCache(2)
    cache.begin(training)
    other, batch = copy.deepcopy(cache), training.batch([1])
    other.write(batch, torch.ones(1, 1, 2))
    assert not cache.written(batch).any()


@pytest.mark.parametrize(
    ("batch", "part"),
    [
        (Batch.of(torch.ones(2, 3, 2)), "rows of a batch differ in length from"),
        (Batch.of(torch.ones(5, 3, 2)), "row 4 is not in a row cache of 4 rows; use batches"),
    ],
)
def test_batches_of_other_data_are_refused(training, batch, part):
    cache = RowCache(2)
    cache.begin(training)
    with pytest.raises(UsageError, match=part):
        cache.read(batch)


def test_a_cache_without_room_and_values_of_another_shape_are_refused(training):
    cache, batch = RowCache(2), training.batch([0, 1])
    with pytest.raises(UsageError, match="call its begin"):
        cache.read(batch)
    cache.begin(training)
    with pytest.raises(UsageError, match=r"shape \(2, 3, 5\) for 2 rows.*expected \(2, 3, 2\)"):
        cache.write(batch, torch.ones(2, 3, 5))


def test_chains_are_no_weights_and_survive():
    chains = Chains()
    with pytest.raises(UsageError, match="there are no chains 'x' yet"):
        chains["x"]
    chains["x"] = torch.ones(3, requires_grad=True) * 2
    assert not chains["x"].requires_grad
    assert not chains.state_dict()
    other = Chains()
    other.load_own_state(chains.own_state())
    assert torch.equal(other["x"], chains["x"])
    assert chains.double()["x"].dtype == torch.float64


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [1.0, 2.0, 3.0, 4.0, 4.0]),
        ("exponential", [1.0, 4 ** (1 / 3), 4 ** (2 / 3), 4.0, 4.0]),
        ("cosine", [1.0, 1.75, 3.25, 4.0, 4.0]),
    ],
)
def test_a_schedule_is_its_formula_and_counts_in_training_alone(kind, expected):
    schedule = Schedule(kind, start=1.0, end=4.0, steps=3)
    found = []
    for _ in range(5):
        schedule.eval()
        assert schedule() == schedule()
        found.append(float(schedule.train()()))
    assert found == pytest.approx(expected)
    other = Schedule(kind, start=1.0, end=4.0, steps=3)
    other.load_state_dict(schedule.state_dict())
    assert int(other.count) == 5


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"kind": "lineal"}, "unknown schedule 'lineal'; did you mean 'linear'"),
        ({"steps": 0}, "a schedule has 0 steps; give at least 1"),
        ({"kind": "exponential", "start": 0.0}, "exponential schedule from 0 to 1; both must be"),
    ],
)
def test_impossible_schedules_are_refused(options, part):
    with pytest.raises(UsageError, match=part):
        Schedule(**{"kind": "linear", "start": 0.5, "end": 1.0, "steps": 3, **options})
