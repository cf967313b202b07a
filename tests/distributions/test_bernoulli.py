"""BernoulliVector against torch's own functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyrodgm.distributions import BernoulliVector


@pytest.mark.parametrize("shapes", [((4, 3), (4, 3)), ((5, 4, 3), (4, 3)), ((4, 3), (5, 4, 3))])
@pytest.mark.parametrize("binary", [True, False])
def test_log_prob_and_gradients_equal_cross_entropy(shapes, binary) -> None:
    logits = (4 * torch.randn(shapes[0], dtype=torch.float64)).requires_grad_()
    value = torch.rand(shapes[1], dtype=torch.float64)
    value = (value.round() if binary else value).requires_grad_()
    ours = BernoulliVector(logits).log_prob(value)
    logits_, value_ = torch.broadcast_tensors(logits, value)
    theirs = -F.binary_cross_entropy_with_logits(logits_, value_, reduction="none").sum(-1)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weight).sum(), (logits, value)),
        torch.autograd.grad((theirs * weight).sum(), (logits, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_gradients_and_second_derivatives_are_right() -> None:
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    value = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    function = lambda l, v: BernoulliVector(l).log_prob(v)  # noqa: E731
    assert torch.autograd.gradcheck(function, (logits, value))
    assert torch.autograd.gradgradcheck(function, (logits, value))


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    nats = BernoulliVector(logits).log_prob(torch.tensor([[0.0, 1.0]]))
    nats.sum().backward()
    assert nats.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_draws_have_the_stated_mean() -> None:
    logits = torch.tensor([-2.0, 0.0, 1.5])
    draws = BernoulliVector(logits).sample(torch.Size([200_000]))
    assert draws.shape == (200_000, 3)
    error = (draws.mean(0) - logits.sigmoid()).abs() / (draws.std(0) / 200_000**0.5)
    assert (error < 4.4).all()  # 2e-5 over three coordinates


def test_draws_from_half_precision_logits_are_not_half_precision() -> None:
    """A uniform number of eight bits could not come out below 2^-8."""
    logits = torch.full((400_000, 1), -8.0, dtype=torch.bfloat16)
    distribution = BernoulliVector(logits)
    share = distribution.from_noise(distribution.noise(logits.shape)).mean()
    assert share.item() == pytest.approx(torch.tensor(-8.0).sigmoid().item(), rel=0.4)
    assert share.dtype == torch.float32


def test_expand_entropy_and_validation() -> None:
    distribution = BernoulliVector(torch.zeros(3))
    assert distribution.expand(torch.Size([2, 5])).batch_shape == (2, 5)
    assert distribution.entropy().item() == pytest.approx(3 * torch.log(torch.tensor(2.0)).item())
    assert distribution.variance.tolist() == [0.25] * 3
    strict = BernoulliVector(torch.zeros(3), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        strict.log_prob(torch.tensor([0.0, 1.0, 2.0]))
