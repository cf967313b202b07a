"""An energy model: an unnormalised density by frame, and chains that leave p unchanged."""

import itertools

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
from pyrodgm.guides import NoGuide
from pyrodgm.models import EnergyModel
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


class NoChain(Restricted):
    """The same without conditional draws."""

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


def test_a_sweep_leaves_the_exact_distribution_unchanged():
    model = Restricted(INFO)
    with torch.no_grad():
        p = probabilities(model)
        start = EVERY[p.multinomial(40_000, replacement=True)][:, None]
        batch = Batch.of(start)
        moved = model.gibbs(start, batch)
        assert not torch.equal(moved, start)
        index = (moved[:, 0] @ (2.0 ** torch.arange(D).flip(0))).long()
        assert_mean(F.one_hot(index, 2**D).double(), p.double())


def test_a_model_without_conditional_draws_says_so():
    model = NoChain(INFO)
    with pytest.raises(CompatibilityError, match="NoChain has no conditional draws"):
        model.gibbs(EVERY[:, None], Batch.of(EVERY[:, None]))


@pytest.mark.parametrize("objective", [ML, ELBO])
def test_objectives_that_need_a_normaliser_are_refused(objective):
    model = Restricted(INFO)
    with pytest.raises(CompatibilityError, match=r"has an unnormalised density; .* needs one"):
        compat.check(model, NoGuide(model), objective)
