"""Categorical vectors against torch's categorical variables, and against sums over all frames."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Categorical

from oracles import assert_mean
from pyrodgm.distributions import CategoricalVector, Mixture, Partial, Symbols

DICE = ((1, 2, 3), (0, 7), (4,), (0, 1, 2, 16_777_216))  # of features with unequal many symbols
ALIKE = ((1, 2), (0, 5), (3, 4))
FRAMES = {own: torch.tensor(list(itertools.product(*own))).double() for own in (DICE, ALIKE)}


def law_of(own: tuple[tuple[int, ...], ...], *batch: int) -> CategoricalVector:
    symbols = Symbols(own)
    return CategoricalVector(2 * torch.randn(*batch, symbols.size).double(), symbols)


def by_torch(law: CategoricalVector, own, value: torch.Tensor) -> torch.Tensor:
    """Nats of every feature, (..., D)."""
    each = []
    parts = law.logits.split([len(symbols) for symbols in own], -1)
    for feature, (symbols, logits) in enumerate(zip(own, parts, strict=True)):
        index = torch.tensor([symbols.index(int(x)) for x in value[..., feature].flatten()])
        each.append(Categorical(logits=logits).log_prob(index.view(value.shape[:-1])))
    return torch.stack(each, -1)


@pytest.mark.parametrize("own", [DICE, ALIKE])
def test_log_prob_is_that_of_torch_and_sums_to_one(own) -> None:
    law, frames = law_of(own), FRAMES[own]
    nats = law.log_prob(frames)
    torch.testing.assert_close(nats, by_torch(law, own, frames).sum(-1))
    assert float(nats.exp().sum()) == pytest.approx(1)
    assert (law.batch_shape, law.event_shape) == ((), (len(own),))


@pytest.mark.parametrize("own", [DICE, ALIKE])
def test_features_seen_are_the_sum_over_the_others(own) -> None:
    law, frames = law_of(own), FRAMES[own]
    seen = torch.rand(frames.shape) < 0.5
    seen[0], seen[1] = False, True
    value = torch.where(seen, frames, -1.0)
    exact = (by_torch(law, own, frames) * seen).sum(-1)
    torch.testing.assert_close(Partial(law, seen).log_prob(value), exact)
    logits = law.logits.requires_grad_()
    Partial(CategoricalVector(logits, law.symbols), seen[:1]).log_prob(value[:1]).sum().backward()
    assert logits.grad.eq(0).all()


def test_a_value_may_be_shared_by_many_laws_and_a_law_by_many_values() -> None:
    law, frames = law_of(DICE, 5, 1), FRAMES[DICE]
    exact = torch.stack([by_torch(law_row(law, row), DICE, frames).sum(-1) for row in range(5)])
    torch.testing.assert_close(law.log_prob(frames), exact)


def law_row(law: CategoricalVector, row: int) -> CategoricalVector:
    return CategoricalVector(law.logits[row, 0], law.symbols)


def test_gradients() -> None:
    law, frames = law_of(DICE), FRAMES[DICE]
    logits, seen = law.logits.clone().requires_grad_(), torch.rand(frames.shape) < 0.5
    assert torch.autograd.gradcheck(
        lambda l: CategoricalVector(l, law.symbols).log_prob(frames), logits
    )
    assert torch.autograd.gradcheck(
        lambda l: CategoricalVector(l, law.symbols).log_prob_seen(frames, seen), logits
    )


@pytest.mark.parametrize("own", [DICE, ALIKE])
def test_symbols_are_drawn_as_often_as_they_are_probable(own) -> None:
    law = law_of(own, 2)
    draws = law.sample(torch.Size([100_000]))
    assert draws.shape == (100_000, 2, len(own))
    hot = law.symbols.one_hot(draws)
    assert hot.sum(-1).eq(len(own)).all()  # nothing but symbols
    assert_mean(hot, law.probs)
    sizes = [len(symbols) for symbols in own]
    exact = torch.cat([part.softmax(-1) for part in law.logits.split(sizes, -1)], -1)
    torch.testing.assert_close(law.probs, exact)


def test_the_least_and_the_greatest_noise_give_symbols_that_are_possible() -> None:
    logits = torch.tensor([-torch.inf, 0.0, 0.0, -1e4, 0.0, -1e4, -1e4])
    law = CategoricalVector(logits, Symbols([(1, 2, 3), (5, 6, 7, 8)]))
    assert law.from_noise(torch.zeros(2)).tolist() == [2, 6]
    assert law.from_noise(torch.full((2,), 1 - 2**-24)).tolist() == [3, 6]


def test_bfloat16_logits_score_and_draw_in_single_precision() -> None:
    law = law_of(DICE)
    rough = CategoricalVector(law.logits.bfloat16(), law.symbols)
    frames = FRAMES[DICE].float()
    exact = CategoricalVector(rough.logits.double(), law.symbols).log_prob(frames.double())
    with torch.autocast("cpu", torch.bfloat16):
        nats, draws = rough.log_prob(frames), rough.sample(torch.Size([1000]))
    assert nats.dtype == draws.dtype == torch.float32
    torch.testing.assert_close(nats.double(), exact, atol=1e-5, rtol=1e-5)
    assert rough.symbols.one_hot(draws).sum(-1).eq(4).all()


def test_a_mixture_has_the_mixed_probabilities() -> None:
    law = law_of(DICE, 3)
    mixed = Mixture(torch.tensor([0.2, 0.3, 0.5]).double().log(), law)
    torch.testing.assert_close(
        mixed.mean, (torch.tensor([0.2, 0.3, 0.5]).double()[:, None] * law.probs).sum(0)
    )
    assert float(mixed.log_prob(FRAMES[DICE]).exp().sum()) == pytest.approx(1)


def test_the_likeliest_symbols_and_their_numbers() -> None:
    symbols = Symbols(DICE)
    probs = symbols.one_hot(FRAMES[DICE])
    torch.testing.assert_close(symbols.likeliest(probs), FRAMES[DICE])
    assert symbols.one_hot(torch.full((4,), -1.0)).eq(0).all()


def test_expand() -> None:
    law = law_of(DICE, 2).expand(torch.Size([3, 2]))
    assert (law.batch_shape, law.event_shape) == ((3, 2), (4,))
    assert law.sample().shape == (3, 2, 4)
