"""The NADE against its definition, bit by bit, and against sums over all outputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from oracles import all_paths, assert_mean, nade
from pyrodgm.distributions import NADE
from pyrodgm.distributions import nade as module

H = 4


@pytest.fixture
def by_ones(request, monkeypatch) -> bool:
    """Hidden units once per one, or once per variable, whatever the share of ones."""
    monkeypatch.setattr(module, "SPARSE", 1.0 if request.param else -1.0)
    return request.param


def either(test):
    """Run a test for both ways of computing the same thing."""
    return pytest.mark.parametrize("by_ones", [True, False], indirect=True)(test)


def tiny(*shape: int, dim: int = 6) -> NADE:
    """Random, in double precision, every argument with a gradient."""
    sizes = [(*shape, dim), (*shape, H), (dim, H), (dim, H)]
    return NADE(*(torch.randn(size).double().requires_grad_() for size in sizes))


def arguments(law: NADE) -> list[Tensor]:
    return [law.visible_bias, law.hidden_bias, law.weight_in, law.weight_out]


def defined(law: NADE, value: Tensor) -> Tensor:
    """Its log-probability by the formula."""
    numbers = torch.cat([law.visible_bias, law.hidden_bias], -1)
    return nade(law.weight_in, law.weight_out)(numbers, value)


@either
def test_sums_to_one_over_all_outputs(by_ones: bool) -> None:
    law, outputs = tiny(3), all_paths(6, 1)[..., 0]
    total = law.log_prob(outputs[:, None]).logsumexp(0)
    torch.testing.assert_close(total, torch.zeros(3).double())


@either
@pytest.mark.parametrize(
    ("shape", "value_shape"),
    [((), ()), ((5,), (5,)), ((2, 3, 5), (3, 5)), ((3, 5), (2, 3, 5)), ((5,), (2, 3, 1))],
)
def test_follows_its_definition(by_ones: bool, shape, value_shape) -> None:
    """Also where K biases share values and where K values share biases."""
    law, value = tiny(*shape), torch.rand(*value_shape, 6).round().double()
    expected = defined(law, value)
    assert law.log_prob(value).shape == expected.shape
    torch.testing.assert_close(law.log_prob(value), expected)
    weight = torch.randn(expected.shape).double()
    for mine, other in zip(
        torch.autograd.grad((law.log_prob(value) * weight).sum(), arguments(law)),
        torch.autograd.grad((expected * weight).sum(), arguments(law)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


@either
@pytest.mark.parametrize("value", [torch.zeros(2, 6), torch.eye(6)[:2], torch.ones(2, 6)])
def test_frames_without_ones_and_full_of_them(by_ones: bool, value: Tensor) -> None:
    law = tiny(2)
    torch.testing.assert_close(law.log_prob(value.double()), defined(law, value.double()))


@either
def test_gradients_are_those_of_finite_differences(by_ones: bool) -> None:
    law, value = tiny(2, dim=3), torch.rand(3, 2, 3).round().double()
    assert torch.autograd.gradcheck(lambda *a: NADE(*a).log_prob(value), arguments(law))


def test_takes_the_way_by_ones_where_ones_are_few(monkeypatch) -> None:
    law, calls = tiny(dim=12), []
    plain = NADE._by_ones
    monkeypatch.setattr(NADE, "_by_ones", lambda self, *a: calls.append(1) or plain(self, *a))
    for count, expected in ((3, 1), (4, 1)):  # a quarter of twelve, and more
        value = (torch.arange(12) < count).double()
        torch.testing.assert_close(law.log_prob(value), defined(law, value))
        assert len(calls) == expected


def test_draws_follow_it() -> None:
    law = tiny(2, dim=3)
    draws = law.sample(torch.Size([100_000]))
    assert draws.shape == (100_000, 2, 3)
    assert not draws.requires_grad
    outputs = all_paths(3, 1)[..., 0]
    exact = law.log_prob(outputs[:, None]).exp().detach().T  # (2, 8)
    kind = (draws @ torch.tensor([4.0, 2.0, 1.0]).double()).long()
    assert_mean(torch.nn.functional.one_hot(kind, 8).double(), exact)


def test_expand() -> None:
    law, value = tiny(5), torch.rand(5, 6).round().double()
    wide = law.expand(torch.Size([2, 5]))
    assert wide.batch_shape == (2, 5)
    torch.testing.assert_close(wide.log_prob(value), law.log_prob(value).expand(2, 5))
    assert wide.sample().shape == (2, 5, 6)


@pytest.mark.parametrize("order", [None, torch.tensor([2, 0, 5, 1, 4, 3])])
def test_sparse_draws_are_those_of_the_loop_over_variables(monkeypatch, order) -> None:
    """From one one to the next, with the same noise."""
    law = tiny(500)
    law = NADE(*arguments(law), order)
    draws = []
    for share in (1.0, -1.0):
        monkeypatch.setattr(module, "SPARSE_DRAWS", share)
        torch.manual_seed(0)
        draws.append(law.sample())
    assert torch.equal(*draws)
    assert len(draws[0].sum(-1).unique()) > 5  # different numbers of ones in one batch
