from itertools import islice

import numpy as np
import pytest

from pyrodgm.data import ragged
from pyrodgm.data.loader import BatchSampler, evaluation_batches, padding_share
from pyrodgm.errors import UsageError

LENGTHS = np.random.default_rng(0).integers(1, 100, 77)


def epoch(sampler):
    return list(islice(sampler, sampler.batches_per_epoch))


def rows(batches):
    return sorted(np.concatenate(batches).tolist())


@pytest.mark.parametrize("batch_size", [1, 7, 10, 77, 100])
def test_every_sequence_once_per_epoch(batch_size):
    sampler = BatchSampler(LENGTHS, batch_size, seed=0)
    for _ in range(3):
        batches = epoch(sampler)
        assert rows(batches) == list(range(77))
        assert 1 <= min(map(len, batches)) <= max(map(len, batches)) <= batch_size


def test_equal_lengths_leave_one_smaller_batch():
    sampler = BatchSampler(np.full(77, 5), 10, seed=0)
    for _ in range(3):
        assert sorted(map(len, epoch(sampler))) == [7, *[10] * 7]


def test_a_batch_that_holds_all_is_not_divided():
    assert [len(batch) for batch in epoch(BatchSampler(LENGTHS, 77, seed=0))] == [77]
    assert len(epoch(BatchSampler(LENGTHS, 76, seed=0))) > 1


def test_sequences_meet_others_in_every_epoch():
    sampler = BatchSampler(LENGTHS, 10, seed=0)
    one, two = ({tuple(sorted(batch)) for batch in epoch(sampler)} for _ in range(2))
    assert len(one & two) < len(one) / 2


def test_batches_come_in_no_order_of_length():
    sampler = BatchSampler(LENGTHS, 10, seed=0)
    orders = [[float(LENGTHS[batch].mean()) for batch in epoch(sampler)] for _ in range(2)]
    for order in orders:
        assert order not in (sorted(order), sorted(order, reverse=True))
    ranks = [np.argsort(order).tolist() for order in orders]
    assert ranks[0] != ranks[1]


def test_order_depends_on_seed_and_epoch_alone():
    def first_two_epochs(seed):
        sampler = BatchSampler(LENGTHS, 10, seed)
        return [np.concatenate(epoch(sampler)).tolist() for _ in range(2)]

    one, two = first_two_epochs(0)
    assert first_two_epochs(0) == [one, two]
    assert one != two
    assert first_two_epochs(1)[0] != one


@pytest.mark.parametrize("position", [0, 3, 8, 11, 16])
def test_resuming_equals_continuing(position):
    sampler = BatchSampler(LENGTHS, 10, seed=4)
    list(islice(sampler, position))
    resumed = BatchSampler(LENGTHS, 10, seed=4)
    resumed.load_state_dict(sampler.state_dict())
    for one, other in zip(islice(sampler, 20), islice(resumed, 20), strict=True):
        assert one.tolist() == other.tolist()


def test_resuming_with_other_batches_is_refused():
    sampler = BatchSampler(LENGTHS, 50, seed=0)
    with pytest.raises(UsageError, match="cannot resume at batch 78 of"):
        sampler.load_state_dict({"epoch": 0, "position": 78})


def test_processes_share_each_batch():
    whole = epoch(BatchSampler(LENGTHS, 12, seed=0))
    parts = [epoch(BatchSampler(LENGTHS, 12, seed=0, rank=r, world_size=3)) for r in range(3)]
    for place, batch in enumerate(whole):
        assert set(rows([part[place] for part in parts])) == set(batch.tolist())


def test_no_process_is_left_without_rows():
    parts = [epoch(BatchSampler(LENGTHS, 4, seed=0, rank=r, world_size=4)) for r in range(4)]
    assert min(len(batch) for part in parts for batch in part) == 1  # 77 = 19 x 4 + 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [4, 12, 77])
def test_a_row_that_is_owned_stays_on_its_process(batch_size, world_size):
    """Every epoch holds every row once, on the same process, and processes share batches evenly."""
    samplers = [
        BatchSampler(LENGTHS, batch_size, 0, rank=r, world_size=world_size, owned=True)
        for r in range(world_size)
    ]
    owned = [set(rows(epoch(sampler))) for sampler in samplers]
    assert sorted(row for own in owned for row in own) == list(range(77))
    for _ in range(3):
        parts = [epoch(sampler) for sampler in samplers]
        assert [set(rows(part)) for part in parts] == owned
        for batches in zip(*parts, strict=True):
            sizes = [len(batch) for batch in batches]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 1


def test_ownership_does_not_change_what_one_process_sees():
    plain, owned = (BatchSampler(LENGTHS, 10, 3, owned=owned) for owned in (False, True))
    for one, other in zip(islice(plain, 30), islice(owned, 30), strict=True):
        assert one.tolist() == other.tolist()


def test_rows_that_are_owned_meet_others_of_their_length():
    lengths = np.geomspace(100, 3857, 87).astype(int)
    for rank in range(2):
        sampler = BatchSampler(lengths, 16, 0, rank=rank, world_size=2, owned=True)
        assert np.mean([padding_share(lengths, epoch(sampler)) for _ in range(5)]) < 0.15
        again = BatchSampler(lengths, 16, 0, rank=rank, world_size=2, owned=True)
        next(again)
        again.load_state_dict(sampler.state_dict())
        assert next(again).tolist() == next(sampler).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"lengths": [1], "batch_size": 2, "world_size": 2, "owned": True},
            "there are 1 sequences for 2 processes",
        ),
        ({"lengths": [], "batch_size": 1}, "no sequences"),
        ({"lengths": [1], "batch_size": 0}, "batch size 0"),
        ({"lengths": [1], "batch_size": 2, "world_size": 3}, "give at least 3"),
        ({"lengths": [1], "batch_size": 2, "rank": 2, "world_size": 2}, "rank 2 is not one of 2"),
    ],
)
def test_impossible_samplers_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        BatchSampler(seed=0, **arguments)


def mean_padding(lengths, batch_size):
    sampler = BatchSampler(lengths, batch_size, seed=0)
    return np.mean([padding_share(lengths, epoch(sampler)) for _ in range(5)])


@pytest.mark.parametrize("batch_size", [8, 16, 32])
@pytest.mark.parametrize("name", ["jsb_chorales", "nottingham"])
def test_little_of_a_batch_is_padding(real_data, name, batch_size):
    lengths = ragged.read(real_data(f"polyphonic/{name}.npz")).train.lengths
    assert mean_padding(lengths, batch_size) < 0.15


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_a_long_tail_is_cut_into_small_batches(batch_size):
    """87 pieces of 100 to 3857 frames, spread as those of Piano-midi are: most of them short."""
    lengths = np.geomspace(100, 3857, 87).astype(int)
    assert mean_padding(lengths, batch_size) < 0.15
    sampler = BatchSampler(lengths, batch_size, seed=0)
    assert sampler.batches_per_epoch <= 87 / batch_size + 7  # nor are they many more


@pytest.mark.parametrize("bound", [1, 50, 99, 500, 10**6])
def test_evaluation_covers_all_within_the_bound(bound):
    batches = evaluation_batches(LENGTHS, bound)
    assert rows(batches) == list(range(77))
    for batch in batches:
        assert len(batch) == 1 or LENGTHS[batch].max() * len(batch) <= bound
    in_order = LENGTHS[np.concatenate(batches)]
    assert (np.diff(in_order) >= 0).all()


def test_evaluation_needs_a_positive_bound():
    with pytest.raises(UsageError, match="frames_per_batch is 0"):
        evaluation_batches(LENGTHS, 0)
