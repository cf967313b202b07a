"""Counts against scipy's multinomial."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from scipy.stats import chi2, multinomial

from oracles import FALSE_POSITIVE_RATE, assert_mean
from pyrodgm.distributions import CountVector, Partial
from pyrodgm.distributions.multinomial import multinomial as draw

LOGITS = torch.tensor([[0.3, -1.0, 2.0, 0.0], [1.0, 1.0, -2.0, 0.5]]).double()
COUNTS = torch.tensor([[0, 3, 1, 2], [4, 0, 0, 1]]).double()


def scipy_nats(counts: np.ndarray, probs: np.ndarray) -> float:
    """The log-probability of a sequence of tokens, without the coefficient."""
    total = counts.sum()
    coefficient = gammaln(total + 1) - gammaln(counts + 1).sum()
    return multinomial.logpmf(counts, total, probs) - coefficient


def test_log_prob_is_the_multinomial_without_its_coefficient() -> None:
    nats = CountVector(LOGITS, 5).log_prob(COUNTS)
    rows = zip(COUNTS.numpy(), LOGITS.softmax(-1).numpy(), strict=True)
    assert nats.tolist() == pytest.approx([scipy_nats(*row) for row in rows])


def test_all_counts_of_a_total_sum_to_one_with_their_coefficients() -> None:
    outputs = [c for c in itertools.product(range(4), repeat=4) if sum(c) == 3]
    nats = CountVector(LOGITS[0], 3).log_prob(torch.tensor(outputs).double())
    ways = [math.factorial(3) / math.prod(map(math.factorial, c)) for c in outputs]
    assert float((nats.exp() * torch.tensor(ways)).sum()) == pytest.approx(1)


def test_counts_seen_are_a_multinomial_over_the_kinds_seen() -> None:
    seen = torch.tensor([[True, False, True, True], [False, True, True, False]])
    nats = Partial(CountVector(LOGITS, 5), seen).log_prob(COUNTS)
    rows = zip(COUNTS.numpy(), LOGITS.softmax(-1).numpy(), seen.numpy(), strict=True)
    exact = [scipy_nats(count[keep], p[keep] / p[keep].sum()) for count, p, keep in rows]
    assert nats.tolist() == pytest.approx(exact)


def test_values_may_share_logits_and_logits_values() -> None:
    wide = CountVector(LOGITS.expand(5, 2, 4), 5)
    torch.testing.assert_close(
        wide.log_prob(COUNTS), CountVector(LOGITS, 5).log_prob(COUNTS).expand(5, 2)
    )
    each = torch.stack([CountVector(LOGITS[0], 5).log_prob(count) for count in COUNTS])
    torch.testing.assert_close(CountVector(LOGITS[0], 5).log_prob(COUNTS), each)


def test_nothing_seen_says_nothing_and_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    seen = torch.tensor([[False] * 4, [True] * 4])
    nats = CountVector(logits, 5).log_prob_seen(COUNTS, seen)
    nats.sum().backward()
    assert nats[0] == 0
    assert logits.grad[0].eq(0).all()
    assert logits.grad[1].isfinite().all()
    assert logits.grad[1].any()


def test_gradients() -> None:
    logits, seen = LOGITS.clone().requires_grad_(), torch.rand(2, 4) < 0.5
    assert torch.autograd.gradcheck(lambda l: CountVector(l, 5).log_prob(COUNTS), logits)
    assert torch.autograd.gradcheck(lambda l: CountVector(l, 5).log_prob_seen(COUNTS, seen), logits)


def test_draws_have_the_stated_total_mean_and_variance() -> None:
    law = CountVector(LOGITS, 7).expand(torch.Size([2]))
    draws = law.sample(torch.Size([100_000]))
    assert draws.shape == (100_000, 2, 4)
    assert draws.sum(-1).eq(7).all()
    assert_mean(draws, law.mean)
    assert_mean((draws - law.mean).square(), law.variance)


def test_draws_of_some_kinds_have_totals_that_say_nothing_about_the_logits() -> None:
    """Given their total they are multinomial over these kinds; a share of the tokens is kept."""
    seen, num = torch.tensor([True, True, False, False]), 100_000
    logits = torch.stack([LOGITS[0], LOGITS[0] + torch.tensor([0.0, 0.0, 9.0, 9.0])])
    draws = CountVector(logits, 7).expand(torch.Size([num, 2])).sample_seen(seen)
    assert draws[..., ~seen].eq(0).all()
    totals = draws.sum(-1)
    assert_mean(totals, torch.full((2,), 3.5).double())
    assert_mean((totals - 3.5).square(), torch.full((2,), 7 / 4).double())
    share = LOGITS[0, :2].softmax(-1)
    assert_mean(draws[..., :2] - totals[..., None] * share + 1, torch.ones(2, 2).double())


def test_expand() -> None:
    law = CountVector(LOGITS, 5).expand(torch.Size([3, 2]))
    assert (law.batch_shape, law.event_shape) == ((3, 2), (4,))
    assert law.sample().shape == (3, 2, 4)


@pytest.mark.parametrize("total", [3, 6], ids=["tokens", "halving"])
def test_draws_have_the_multinomial_probabilities(total) -> None:
    """Frequencies of all outcomes against scipy's, by Pearson's statistic at a rate of 2e-5."""
    probs, num = torch.tensor([0.5, 0.2, 0.05, 0.0, 0.25], dtype=torch.double), 100_000
    found = draw(total, probs.expand(num, 5)).long().numpy()
    assert not found[:, 3].any()
    outcomes = [c for c in itertools.product(range(total + 1), repeat=4) if sum(c) == total]
    expected = num * multinomial.pmf(outcomes, total, probs[probs > 0].numpy())
    times = Counter(map(tuple, found[:, [0, 1, 2, 4]].tolist()))
    observed = np.array([times[outcome] for outcome in outcomes])
    assert observed.sum() == num
    often = expected > 5
    statistic = (np.square(observed - expected) / expected)[often].sum()
    assert chi2.sf(statistic, often.sum()) > FALSE_POSITIVE_RATE


@pytest.mark.parametrize("total", [6, 1000, 10**9])
def test_halves_of_kinds_have_the_right_moments(total) -> None:
    """Of any number of kinds, and of kinds that are next to impossible."""
    probs = torch.tensor([1e-12, 0.3, 0.1, 0.0, 0.35, 0.25 - 1e-12]).double()
    found = draw(total, probs.expand(20_000, 6))
    assert found.sum(-1).eq(total).all()
    assert not found[:, 3].any()
    assert_mean(found, total * probs)
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0, -1.0]).double()
    covariance = total * (probs.diag() - torch.outer(probs, probs))
    errors = (found - total * probs) @ weights
    assert_mean(errors.square(), weights @ covariance @ weights)


def test_a_draw_costs_by_its_kinds_and_not_by_its_total(monkeypatch) -> None:
    """No tokens are asked for, of which there would be 8 TB."""
    monkeypatch.setattr(torch, "multinomial", lambda *_, **__: pytest.fail("tokens were drawn"))
    asked = []
    binomial = torch.binomial
    monkeypatch.setattr(
        torch,
        "binomial",
        lambda count, share: asked.append(share.numel()) or binomial(count, share),
    )
    CountVector(torch.zeros(1000, 20), 10**9).sample()
    assert sum(asked) == 1000 * 31
