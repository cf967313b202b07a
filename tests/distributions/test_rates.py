"""Counts with totals of their own against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson

from oracles import assert_mean
from pyrodgm.distributions import NegativeBinomialVector, Partial, PoissonVector, RateVector

LOG_MEAN = torch.tensor([[0.3, -1.0, 2.0], [1.0, 5.0, -3.0]]).double()
LOG_SHAPE = torch.tensor([[0.0, 2.0, -1.0], [9.0, 0.5, -3.0]]).double()
COUNTS = torch.tensor([[0, 3, 11], [2, 150, 0]]).double()
LAWS = {
    "poisson": (PoissonVector(LOG_MEAN), poisson(LOG_MEAN.exp().numpy())),
    "negative-binomial": (
        NegativeBinomialVector(LOG_MEAN, LOG_SHAPE),
        nbinom(LOG_SHAPE.exp().numpy(), 1 / (1 + (LOG_MEAN - LOG_SHAPE).exp().numpy())),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_log_prob_mean_and_variance_are_those_of_scipy(name: str) -> None:
    law, exact = LAWS[name]
    np.testing.assert_allclose(law.log_prob(COUNTS), exact.logpmf(COUNTS.numpy()).sum(-1))
    np.testing.assert_allclose(law.mean, exact.mean())
    np.testing.assert_allclose(law.variance, exact.var())
    every = law.each(torch.arange(3000.0).double()[:, None, None])
    torch.testing.assert_close(every.exp().sum(0), torch.ones(2, 3).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", LAWS)
def test_counts_seen_are_scored_alone(name: str) -> None:
    law, exact = LAWS[name]
    seen = torch.tensor([[True, False, True], [False, False, False]])
    each = exact.logpmf(COUNTS.numpy()) * seen.numpy()
    value = COUNTS.masked_fill(~seen, 0.7)  # no count, but nothing was seen there
    np.testing.assert_allclose(Partial(law, seen).log_prob(value), each.sum(-1))


@pytest.mark.parametrize("name", LAWS)
def test_draws_have_the_mean_and_the_variance(name: str) -> None:
    law, _ = LAWS[name]
    some = law.expand(torch.Size([4, 2]))
    assert (some.batch_shape, some.event_shape) == ((4, 2), (3,))
    draws = law.sample(torch.Size([200_000]))
    assert draws.shape == (200_000, 2, 3)
    assert draws.eq(draws.round()).all()
    assert_mean(draws[:, 0], law.mean[0])
    assert_mean((draws - law.mean).square()[:, 0], law.variance[0])


@pytest.mark.parametrize("make", [PoissonVector, lambda l: NegativeBinomialVector(l, LOG_SHAPE)])
def test_gradients(make) -> None:
    log_mean = LOG_MEAN.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda l: make(l).log_prob(COUNTS), log_mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LAWS)
def test_large_counts_do_not_cancel(name: str, dtype: torch.dtype) -> None:
    """Of a hundred thousand, whose log-factorial is a million nats, under autocast too."""
    count = torch.tensor([1e5])
    log_mean, log_shape = count.log().to(dtype), torch.tensor([9.0]).to(dtype)

    def law(dtype: torch.dtype | None) -> RateVector:
        numbers = [each if dtype is None else each.to(dtype) for each in (log_mean, log_shape)]
        return PoissonVector(numbers[0]) if name == "poisson" else NegativeBinomialVector(*numbers)

    with torch.autocast("cpu", torch.bfloat16):
        nats = law(None).log_prob(count)
    assert nats.dtype == torch.float32
    exact = law(torch.float64).log_prob(count.double())
    torch.testing.assert_close(nats.double(), exact, atol=0, rtol=1e-5)
