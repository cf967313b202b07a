"""Kernels: transition matrices by enumeration, exact distributions left unchanged, variances."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor, nn

from oracles import FALSE_POSITIVE_RATE, assert_mean
from pyrodgm.engine.kernels import (
    MALA,
    SGHMC,
    SGLD,
    DiscreteLangevin,
    Gibbs,
    GibbsWithGradients,
    Independence,
    Tempering,
)
from pyrodgm.errors import UsageError

CLASSES = (3, 1, 2)
MOVES = 10_000  # from every state


@pytest.fixture(autouse=True)
def double():
    """Double precision, so that enumeration is exact, and one seed."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def bits(dim: int) -> Tensor:
    """All rows of bits, (2^D, D)."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=dim)))


def codings() -> Tensor:
    """All rows of one-hot codings, (states, S)."""
    rows = itertools.product(*(torch.eye(size).tolist() for size in CLASSES))
    return torch.tensor([list(itertools.chain.from_iterable(row)) for row in rows])


def potential_of(dim: int):
    """A potential that is neither linear nor quadratic."""
    network = nn.Sequential(nn.Linear(dim, 8), nn.Tanh(), nn.Linear(8, 1))
    return lambda x: 3 * network(x).squeeze(-1)


def by_definition(states: Tensor, potential, classes) -> Tensor:
    """The transition matrix of Gibbs with gradients, pair by pair."""
    x = states.clone().requires_grad_()
    (slope,) = torch.autograd.grad(potential(x).sum(), x)
    nats = potential(states).detach()
    count, unlike = len(states), (states[:, None] - states).abs().sum(-1)
    neighbour = unlike == (1 if classes is None else 2)
    gain = torch.einsum("ijd,id->ij", states - states[:, None], slope) / 2
    proposal = gain.masked_fill(~neighbour, -math.inf).softmax(1)
    ratio = (nats - nats[:, None]).exp() * proposal.T / proposal
    moves = (proposal * ratio.nan_to_num(0.0).clamp(max=1.0)).masked_fill(~neighbour, 0.0)
    return moves + torch.eye(count) * (1 - moves.sum(1))


def several_by_definition(states: Tensor, potential, classes, log_step: float) -> Tensor:
    """The transition matrix of discrete Langevin dynamics, pair by pair and feature by feature."""
    x = states.clone().requires_grad_()
    (slope,) = torch.autograd.grad(potential(x).sum(), x)
    nats = potential(states).detach()
    if classes is None:
        gain = (0.5 - states) * slope + log_step
        flips = (states[:, None] != states).double()
        log_q = (flips * gain[:, None] - gain.exp().log1p()[:, None]).sum(-1)
    else:
        logits = slope / 2 + log_step * (1 - states)
        each = torch.cat([part.log_softmax(-1) for part in logits.split(classes, -1)], -1)
        log_q = each @ states.T
    ratio = nats - nats[:, None] + log_q.T - log_q
    moves = (log_q + ratio.clamp(max=0.0)).exp().fill_diagonal_(0.0)
    return moves + torch.diag(1 - moves.sum(1))


def counts_of(states: Tensor, moved: Tensor) -> Tensor:
    """How often each state occurs, of rows (M, N, D), (M, states)."""
    number = (moved[..., None, :] == states).all(-1).double()
    assert (number.sum(-1) == 1).all()
    return number.sum(1)


def assert_frequencies(counts: Tensor, probabilities: Tensor) -> None:
    """Pearson's test of counts against probabilities, both (M, cells), each row a sample."""
    expected = probabilities * counts.sum(-1, keepdim=True)
    assert counts[probabilities < 1e-12].sum() == 0
    often = expected > 5
    rest = torch.stack([each.masked_fill(often, 0).sum(-1) for each in (counts, expected)])
    statistic = ((counts - expected).square() / expected)[often].sum()
    enough = rest[1] > 5
    statistic = statistic + ((rest[0] - rest[1]).square() / rest[1])[enough].sum()
    freedom = int(often.sum() + enough.sum() - len(counts))
    assert statistic < chi2.isf(FALSE_POSITIVE_RATE, freedom), (float(statistic), freedom)


@pytest.mark.parametrize("classes", [None, CLASSES], ids=["bits", "classes"])
def test_gibbs_with_gradients_has_the_transitions_of_its_definition(classes):
    states = bits(4) if classes is None else codings()
    potential = potential_of(states.shape[1])
    matrix = by_definition(states, potential, classes)
    p = potential(states).detach().softmax(0)
    flow = p[:, None] * matrix
    torch.testing.assert_close(flow, flow.T)  # detailed balance
    torch.testing.assert_close(p @ matrix, p)
    assert matrix.diag().max() < 0.95
    x = states[:, None].expand(-1, MOVES, -1)
    moved = GibbsWithGradients(classes).move(x, potential)
    assert_frequencies(counts_of(states, moved.x), matrix)
    # A state is left as often as proposals from it are accepted.
    assert_mean(moved.accepted.T, 1 - matrix.diag())


@pytest.mark.parametrize("classes", [None, CLASSES], ids=["bits", "classes"])
def test_discrete_langevin_has_the_transitions_of_its_definition(classes):
    states = bits(3) if classes is None else codings()
    potential = potential_of(states.shape[1])
    matrix = several_by_definition(states, potential, classes, -0.5)
    p = potential(states).detach().softmax(0)
    torch.testing.assert_close(p[:, None] * matrix, (p[:, None] * matrix).T)
    x = states[:, None].expand(-1, MOVES, -1)
    for log_step in (-0.5, torch.tensor(-0.5).expand(x.shape[:-1])):
        moved = DiscreteLangevin(log_step, classes).move(x, potential)
        assert_frequencies(counts_of(states, moved.x), matrix)


def test_gibbs_with_gradients_of_sequences_changes_one_variable_of_each():
    """A chain is a sequence where the potential has one number per sequence."""
    states = codings()
    one = potential_of(2 * states.shape[1])
    both = torch.stack([torch.stack(pair) for pair in itertools.product(states, states)])
    flat = both.flatten(1)
    matrix = by_definition(flat, one, CLASSES)
    x = both[:4, None].expand(-1, MOVES, -1, -1)
    moved = GibbsWithGradients(CLASSES).move(x, lambda x: one(x.flatten(-2))).x
    assert_frequencies(counts_of(flat, moved.flatten(-2)), matrix[:4])


def test_independence_has_the_transitions_of_its_definition():
    states, potential = bits(3), potential_of(3)
    q = torch.rand(8) + 0.1

    def number(x):
        return (x @ torch.tensor([4.0, 2.0, 1.0])).long()

    kernel = Independence(
        lambda x: states[q.multinomial(x.shape[:-1].numel(), True)].view(x.shape),
        lambda x: q[number(x)].log(),
    )
    weights = potential(states).detach().exp() / q
    matrix = q / q.sum() * (weights / weights[:, None]).clamp(max=1.0)
    matrix = matrix + torch.diag(1 - matrix.sum(1))
    p = potential(states).detach().softmax(0)
    torch.testing.assert_close(p[:, None] * matrix, (p[:, None] * matrix).T)
    moved = kernel.move(states[:, None].expand(-1, MOVES, -1), potential)
    assert_frequencies(counts_of(states, moved.x), matrix)


def test_an_independent_proposal_replaces_an_impossible_state_and_never_proposes_one():
    impossible = torch.tensor(-math.inf)

    def potential(x):
        return torch.where(x[..., 0] == 1, impossible, 0.0)

    for proposed, expected in ((0.0, [0.0, 0.0]), (1.0, [0.0, 1.0])):
        kernel = Independence(lambda x, value=proposed: torch.full_like(x, value), potential_of(1))
        moved = kernel.move(torch.tensor([[0.0], [1.0]]), potential)
        assert moved.x.flatten().tolist() == expected


def test_tempering_leaves_the_product_of_its_distributions_unchanged():
    betas, states, potential = (1.0, 0.5, 0.1), bits(2), potential_of(2)
    nats = 2 * potential(states).detach()
    log_p = torch.tensor(betas)[:, None] * nats
    p = log_p.softmax(1)
    x = torch.stack([states[each.multinomial(30_000, True)] for each in p])
    kernel = Tempering(GibbsWithGradients(), betas)
    both = []
    for _ in range(8):
        moved = kernel.move(x, lambda x: 2 * potential(x))
        both.append(float(((moved.x != x)[0].all(-1)).double().mean()))
        x = moved.x
    # The kernel changes one bit; both bits of the first copy change only by an exchange.
    assert max(both) > 0.05
    assert min(both) == 0  # where the second and the third copy exchange
    assert moved.accepted.shape == (30_000,)
    number = (moved.x @ torch.tensor([2.0, 1.0])).long()
    joint = torch.bincount(number[0] * 16 + number[1] * 4 + number[2], minlength=64)
    expected = torch.einsum("i,j,k->ijk", *p).flatten()
    assert_frequencies(joint.double()[None], expected[None])


WELL = torch.linspace(-3.0, 3.0, 13)


def double_well(x: Tensor) -> Tensor:
    """A potential with two modes, of one number."""
    return (-3 * (x.square() - 1).square() + 0.5 * x).squeeze(-1)


def exact_draws(count: int) -> Tensor:
    """Draws of the double well by the inverse of its distribution function on a fine grid."""
    grid = torch.linspace(-3, 3, 60_001)
    reached = double_well(grid[:, None]).exp().cumsum(0)
    place = torch.searchsorted(reached / reached[-1], torch.rand(count))
    return (grid[place] + (torch.rand(count) - 0.5) * 1e-4)[:, None]


def asymmetry(kernel, count: int = 200_000) -> tuple[float, int]:
    """Pearson's statistic of the symmetry of (x, x'), in bins, with its degrees of freedom."""
    x = exact_draws(count)
    moved = kernel.move(x, double_well).x
    before, after = (torch.bucketize(each.squeeze(-1), WELL) for each in (x, moved))
    pairs = torch.bincount(before * 14 + after, minlength=14**2).view(14, 14).double()
    total = (pairs + pairs.T).triu(1)
    enough = total > 20
    return float(((pairs - pairs.T).square() / total)[enough].sum()), int(enough.sum())


def test_mala_satisfies_detailed_balance_and_sgld_does_not():
    statistic, freedom = asymmetry(MALA(0.1))
    assert statistic < chi2.isf(FALSE_POSITIVE_RATE, freedom)
    statistic, freedom = asymmetry(MALA(torch.linspace(0.02, 0.2, 200_000)))  # one step per chain
    assert statistic < chi2.isf(FALSE_POSITIVE_RATE, freedom)
    statistic, freedom = asymmetry(SGLD(0.1))
    assert statistic > 2 * chi2.isf(FALSE_POSITIVE_RATE, freedom)


SPREAD = torch.tensor([1.0, 0.5], dtype=torch.float64)


def normal(x: Tensor) -> Tensor:
    """The potential of two independent normal numbers."""
    return -0.5 * (x / SPREAD).square().sum(-1)


@pytest.mark.parametrize("noise", [None, 0.05])
@pytest.mark.parametrize("friction", [None, 0.2, 1.0])
def test_langevin_dynamics_have_their_variance_in_closed_form(friction, noise):
    """x_L = A x_0 + B v_0 + sum_l C_l e_l, whose variance is the same before and after."""
    step, leaps = 0.05, 1 if friction is None else 3
    keep = 1 - (friction or 1.0)
    usual = noise if noise is not None else math.sqrt(2 * step * (1 - keep))
    pull = step / SPREAD.square()
    one, zero = torch.ones(2), torch.zeros(2)
    # Coefficients of x_0, v_0 and every noise in x and in v.
    x, v = [one, zero, *[zero] * leaps], [zero, one, *[zero] * leaps]
    for leap in range(leaps):
        noises = [usual * one if place == 2 + leap else zero for place in range(2 + leaps)]
        v = [keep * b - pull * a + e for a, b, e in zip(x, v, noises, strict=True)]
        x = [a + b for a, b in zip(x, v, strict=True)]
    of_velocity = usual**2 / (1 - keep**2)
    fixed = x[1].square() * of_velocity + sum((each.square() for each in x[2:]), zero)
    variance = fixed / (1 - x[0].square())
    if friction is None:
        kernel = SGLD(step, noise)
        torch.testing.assert_close(variance, usual**2 / (1 - (1 - pull).square()))
        if noise is None:  # wider than the target by 1 / (1 - a / (2 s^2))
            torch.testing.assert_close(variance, SPREAD.square() / (1 - pull / 2))
    else:
        kernel = SGHMC(step, friction, leaps, noise)
    start = variance.sqrt() * torch.randn(60_000, 2)
    moved = kernel.move(start, normal)
    assert_mean(moved.x.square(), variance)
    assert_mean((moved.x * start).sum(-1), (x[0] * variance).sum())
    assert moved.accepted == 1


def test_undefined_proposals_are_rejected():

    def potential(x):  # undefined beyond one
        return (1 - x.square()).sqrt().squeeze(-1)

    x = torch.zeros(2000, 1)
    for _ in range(5):
        x = MALA(0.5).move(x, potential).x
    assert x.abs().max() < 1
    assert len(x.unique()) > 1000


def test_gibbs_calls_the_draws_of_the_model_alone():
    moved = Gibbs(lambda x: x + 1).move(torch.zeros(3, 2), lambda _: pytest.fail("evaluated"))
    assert moved.x.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGLD(0.0), "give a step above 0"),
        (lambda: SGLD(0.1, -1.0), "noise >= 0"),
        (lambda: MALA(math.nan), "give a step above 0"),
        (lambda: SGHMC(0.1, friction=0.0), "give a friction above 0"),
        (lambda: SGHMC(0.1, leaps=0), "at least one leap"),
        (lambda: GibbsWithGradients((1, 1)), "no feature can change"),
        (lambda: Tempering(SGLD(0.1), (0.5, 1.0)), "the first one 1"),
        (lambda: Tempering(SGLD(0.1), (1.0, 1.0)), "decreasing numbers"),
        (lambda: Tempering(SGLD(0.1), (1.0, 0.0)), "above 0"),
    ],
)
def test_sizes_out_of_range_are_refused(make, words):
    with pytest.raises(UsageError, match=words):
        make()
