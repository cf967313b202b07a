"""Normal vectors of low rank against torch's with the whole covariance."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from oracles import assert_mean
from pyrodgm.distributions import LowRankNormal, NormalVector, Partial

B, T, D, S = 3, 2, 4, 2


def tiny(*leading: int) -> LowRankNormal:
    """The mean varies with everything, the covariance with time alone."""
    loc = torch.randn(*leading, T, D).double()
    factor = torch.randn(T, D, S).double()
    return LowRankNormal(loc, factor, torch.rand(D).double() + 0.1)


def covariance(law: LowRankNormal) -> torch.Tensor:
    return law.factor @ law.factor.mT + law.diagonal.diag_embed()


@pytest.mark.parametrize("leading", [(), (B,), (5, B)])
def test_log_prob_is_that_of_torch(leading: tuple[int, ...]) -> None:
    law, value = tiny(*leading), torch.randn(*leading, T, D).double()
    exact = MultivariateNormal(law.loc, covariance(law)).log_prob(value)
    torch.testing.assert_close(law.log_prob(value), exact)
    assert (law.batch_shape, law.event_shape) == ((*leading, T), (D,))


def test_variance_is_the_diagonal() -> None:
    law = tiny(B)
    expected = covariance(law).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(law.variance, expected.expand(B, T, D))


def test_features_seen_are_the_marginal() -> None:
    law, value = tiny(B), torch.randn(B, T, D).double()
    seen = torch.rand(B, T, D) < 0.5
    seen[0, 0], seen[1, 1] = False, True
    told = Partial(law, seen).log_prob(value)
    for b in range(B):
        for t in range(T):
            keep = seen[b, t]
            if not keep.any():
                assert abs(float(told[b, t])) < 1e-12
                continue
            part = covariance(law)[t][keep][:, keep]
            exact = MultivariateNormal(law.loc[b, t, keep], part).log_prob(value[b, t, keep])
            torch.testing.assert_close(told[b, t], exact)


def test_nothing_seen_has_no_gradient_and_the_rest_the_right_one() -> None:
    plain = tiny()
    arguments = [a.requires_grad_() for a in (plain.loc, plain.factor, plain.diagonal)]
    value, seen = torch.randn(T, D).double(), torch.rand(T, D) < 0.5
    seen[0], seen[1, 0] = False, True
    nats = LowRankNormal(*arguments).log_prob_seen(value, seen)
    grads = torch.autograd.grad(nats[0], arguments, retain_graph=True)
    assert all(grad.abs().max() < 1e-12 for grad in grads)
    assert torch.autograd.gradcheck(
        lambda *a: LowRankNormal(*a).log_prob_seen(value, seen), arguments
    )


def test_scaled_is_the_law_of_the_scaled_vector() -> None:
    law, value = tiny(B), torch.randn(B, T, D).double()
    centre, scale = torch.randn(D).double(), torch.rand(D).double() + 0.5
    exact = law.log_prob((value - centre) / scale) - scale.log().sum()
    torch.testing.assert_close(law.scaled(centre, scale).log_prob(value), exact)


def test_draws_have_the_stated_mean_and_covariance() -> None:
    law = tiny()
    draws = law.sample(torch.Size([100_000]))
    assert draws.shape == (100_000, T, D)
    assert_mean(draws, law.mean)
    rest = draws - law.mean
    assert_mean(rest[..., None] * rest[..., None, :], covariance(law))


def test_expand() -> None:
    law, value = tiny(B), torch.randn(B, T, D).double()
    wide = law.expand(torch.Size([5, B, T]))
    assert wide.batch_shape == (5, B, T)
    torch.testing.assert_close(wide.log_prob(value), law.log_prob(value).expand(5, B, T))
    assert wide.sample().shape == (5, B, T, D)


def test_independent_normal_numbers_are_those_of_torch() -> None:
    loc, scale, value = (
        torch.randn(3, 1, D).double(),
        torch.rand(D).double() + 0.2,
        torch.randn(4, D),
    )
    plain = Normal(loc, scale.expand(3, 1, D))
    for law in (NormalVector(loc, scale), NormalVector(loc, scale).expand(torch.Size([3, 1]))):
        torch.testing.assert_close(law.log_prob(value), plain.log_prob(value).sum(-1))
        torch.testing.assert_close(law.mean, plain.mean)
        torch.testing.assert_close(law.variance.expand(3, 1, D), plain.variance)
        seen = torch.rand(4, D) < 0.5
        of_seen = (plain.log_prob(value) * seen).sum(-1)
        torch.testing.assert_close(law.log_prob_seen(value, seen), of_seen)


def test_draws_of_independent_normal_numbers() -> None:
    loc, scale = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([0.5, 2.0])
    law = NormalVector(loc, scale)
    draws = law.sample(torch.Size([40_000]))
    # Five standard errors of a mean, and of a variance.
    assert ((draws.mean(0) - loc).abs() < 5 * scale / 200).all()
    assert ((draws.var(0) / scale.square() - 1).abs() < 5 * 2**0.5 / 200).all()
    assert law.rsample(torch.Size([3])).requires_grad
    assert not draws.requires_grad


def test_half_precision_is_summed_in_single() -> None:
    loc, scale, value = torch.randn(3, 50, 200)
    halves = [each.bfloat16() for each in (loc, scale.exp() / 20, value)]
    found = NormalVector(*halves[:2]).log_prob(halves[2])
    loc, scale, value = (each.double() for each in halves)
    assert found.dtype == torch.float32
    exact = Normal(loc, scale).log_prob(value).sum(-1)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-3)
    seen = torch.rand(50, 200) < 0.5
    some = NormalVector(*halves[:2]).log_prob_seen(halves[2], seen)
    exact = (Normal(loc, scale).log_prob(value) * seen).sum(-1)
    torch.testing.assert_close(some.double(), exact, rtol=1e-5, atol=1e-3)
