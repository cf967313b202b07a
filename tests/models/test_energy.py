"""An energy model: an unnormalised density by frame, and chains that leave p unchanged."""

import itertools
from dataclasses import replace

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import CompatibilityError
from pyrodgm.evaluate.likelihood.annealing import forward_weights
from pyrodgm.guides import NoGuide
from pyrodgm.models import EnergyModel, ModelTraits
from pyrodgm.objectives import ELBO, ML
from pyrodgm.setup import compat

D, H = 3, 2
INFO = DataInfo("bits", "binary", D, (0.5,) * D, 1.0, 1)
EVERY = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)))


class Restricted(EnergyModel):
    """A restricted Boltzmann machine: log p(x) = b x + sum softplus(c + W x) - log Z."""

    def __init__(self, info):
        super().__init__(info)
        self.weight = nn.Parameter(torch.randn(H, info.dim))
        self.visible, self.hidden = nn.Parameter(torch.randn(info.dim)), nn.Parameter(torch.ones(H))

    def potential(self, x, batch):
        return x @ self.visible + F.softplus(F.linear(x, self.weight, self.hidden)).sum(-1)

    def gibbs(self, x, batch):
        h = F.linear(x, self.weight, self.hidden).sigmoid().bernoulli()
        return F.linear(h, self.weight.T, self.visible).sigmoid().bernoulli()


class PotentialOnly(Restricted):
    """The same by its potential alone: everything else follows from it."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")
    gibbs = EnergyModel.gibbs


def probabilities(model: EnergyModel) -> torch.Tensor:
    """Of all rows, by the normaliser that enumeration gives."""
    return model.potential(EVERY[:, None], Batch.of(EVERY[:, None])).squeeze(1).softmax(0)


def test_pyro_has_the_potential_as_a_factor_and_padding_counts_nothing():
    model = Restricted(INFO)
    mask = torch.tensor([[True, True], [True, False]])
    batch = Batch(torch.rand(2, 2, D).round(), mask, torch.arange(2))
    with pyro.get_param_store().scope(), pyro.plate("particles", 3, dim=-3):
        trace = poutine.trace(model).get_trace(batch)
    trace.compute_log_prob()
    found = trace.nodes["x"]["log_prob"].expand(3, 2, 2)
    expected = model.potential(batch.x, batch) * mask
    torch.testing.assert_close(found, expected.expand(3, 2, 2))


@pytest.mark.parametrize("kind", [Restricted, PotentialOnly])
def test_a_sweep_leaves_the_exact_distribution_unchanged(kind):
    model = kind(INFO)
    with torch.no_grad():
        p = probabilities(model)
        start = EVERY[p.multinomial(40_000, replacement=True)][:, None]
        batch = Batch.of(start)
        moved = model.gibbs(start, batch)
        assert not torch.equal(moved, start)
        index = (moved[:, 0] @ (2.0 ** torch.arange(D).flip(0))).long()
        assert_mean(F.one_hot(index, 2**D).double(), p.double())


def test_the_normaliser_of_few_bits_is_that_of_enumeration():
    model = PotentialOnly(INFO)
    assert model.enumerable
    found = model.log_normaliser()
    expected = model.potential(EVERY[:, None], Batch.of(EVERY[:, None])).double().logsumexp((0, 1))
    torch.testing.assert_close(found, expected)
    many = PotentialOnly(replace(INFO, dim=17, mean=(0.5,) * 17))
    assert not many.enumerable
    with pytest.raises(CompatibilityError, match="too many states to enumerate"):
        many.log_normaliser()


def test_weights_along_the_path_have_the_normaliser_as_their_mean():
    model = PotentialOnly(INFO)
    with torch.no_grad():
        nats = forward_weights(model.annealing(), 20_000, 5).double()
        assert_mean((nats - model.log_normaliser()).exp()[:, None], torch.ones(1).double())


@pytest.mark.parametrize("beta", [0.4, 1.0])
def test_a_move_along_the_path_satisfies_detailed_balance(beta):
    """From p at beta, the frequency of (x, x') is that of (x', x)."""
    path = PotentialOnly(INFO).annealing()
    with torch.no_grad():
        nats = EVERY @ path.base + path.log_ratio(EVERY, 0.0, beta)
        # A sweep has one order of the bits for all rows, so that a round is one independent draw.
        rounds = torch.stack([_flow(path, nats.softmax(0), beta) for _ in range(60)])
    error = rounds.std(0) / len(rounds) ** 0.5
    assert error.max() < 0.002
    assert (rounds.mean(0).abs() <= 6 * error + 1e-9).all()  # 28 differences at 2e-5, Student's t


def _flow(path, p, beta):
    """The frequency of (x, x') less that of (x', x), (4^D,), of rows from p."""
    before = p.multinomial(2000, replacement=True)
    after = (path.move(EVERY[before], beta) @ (2.0 ** torch.arange(D).flip(0))).long()
    pairs = torch.bincount(before * 2**D + after, minlength=4**D).double().view(2**D, 2**D)
    return ((pairs - pairs.mT) / len(before)).flatten()


def test_what_does_not_follow_from_a_potential_of_real_numbers_is_refused():
    model = PotentialOnly(replace(INFO, kind="real"))
    with pytest.raises(CompatibilityError, match=r"has no draws for a Markov chain.*write gibbs"):
        model.gibbs(EVERY[:, None], Batch.of(EVERY[:, None]))
    assert not model.enumerable


@pytest.mark.parametrize("objective", [ML, ELBO])
def test_objectives_that_need_a_normaliser_are_refused(objective):
    model = Restricted(INFO)
    with pytest.raises(CompatibilityError, match=r"has an unnormalised density; .* needs one"):
        compat.check(model, NoGuide(model), objective)
