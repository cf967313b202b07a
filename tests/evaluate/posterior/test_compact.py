"""Values of every size survive the types in which draws are kept."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyrodgm.data.base import Sequences
from pyrodgm.distributions import BernoulliVector, CountVector
from pyrodgm.evaluate.posterior.compact import Arrays, compact_type

COUNTS = CountVector(torch.zeros(2), 10)
KEPT = ("posterior_predictive", "x")


def kept(*parts, lengths=(2, 1)):
    """What is left of parts (K, B, T, D) of some draws, padded in the second sequence."""
    sequences = Sequences(np.zeros((sum(lengths), 2), np.float32), np.array(lengths))
    arrays = Arrays(sum(len(part) for part in parts), sequences)
    first = 0
    for part in parts:
        rows = slice(first, first + len(part))
        arrays.put(KEPT, part.to(compact_type(COUNTS, part)), rows, np.arange(part.shape[1]))
        first += len(part)
    return arrays.groups[KEPT[0]][KEPT[1]][0]


@pytest.mark.parametrize("largest", [1, 127, 128, 32767, 32768, 2**31 - 2**7, 2**31, 2**40])
def test_whole_numbers_of_any_size_are_kept_as_they_are(largest):
    value = torch.tensor([[0.0, largest]])
    dtype = compact_type(COUNTS, value)
    assert value.to(dtype).double().tolist() == value.double().tolist()
    assert dtype.is_floating_point == (largest >= 2**31)


def test_values_that_integers_would_change_are_floats():
    law = dist.Poisson(torch.ones(1))
    for value in (-1.0, 0.5, torch.nan):
        assert compact_type(law, torch.tensor([value])) == torch.float64


def test_bits_take_a_byte_and_real_numbers_four():
    bits, real = BernoulliVector(torch.zeros(2)), dist.Normal(torch.zeros(2), 1.0)
    assert compact_type(bits, torch.ones(2)) == torch.int8
    assert compact_type(real, torch.ones(2).double()) == torch.float32


def test_parts_may_be_larger_than_those_before_them_or_smaller():
    small, large = torch.full((1, 2, 2, 2), 3.0), torch.full((2, 2, 2, 2), 70000.0)
    for parts in ((small, large, small), (large, small)):
        expected = torch.cat(parts).numpy()
        np.testing.assert_array_equal(kept(*parts), expected)
        assert kept(*parts).dtype == np.int32


def test_what_no_part_fills_stays_blank_in_wider_types():
    short = torch.full((1, 2, 1, 2), 3.0)
    long, huge = torch.full((1, 2, 2, 2), 70000.0), torch.full((1, 2, 2, 2), 2.0**40)
    assert (kept(short, long)[0, :, 1] == -1).all()
    assert np.isnan(kept(short, huge)[0, :, 1]).all()
    assert (kept(short, huge)[0, :, 0] == 3).all()
    assert (kept(huge, short)[0] == 2**40).all()
