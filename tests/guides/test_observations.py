"""Guides over observations: their draws have their density."""

import itertools
from dataclasses import replace

import pytest
import torch
from scipy.stats import chi2

from oracles import FALSE_POSITIVE_RATE, assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import CompatibilityError, DataError
from pyrodgm.guides.observations import Marginals, ObservationGuide
from pyrodgm.models import RBM
from pyrodgm.models.energy import EnergyModel

BITS = DataInfo("bits", "binary", 3, (0.5, 0.2, 1.0), 1.0, 1)
DICE = DataInfo(
    "dice",
    "categorical",
    2,
    (0.0, 0.0),
    1.0,
    1,
    symbols=((1, 2, 5), (0, 7)),
    frequencies=(0.5, 0.5, 0.0, 0.1, 0.9),
)
REAL = DataInfo("real", "real", 2, (3.0, -1.0), 1.0, 1, std=(2.0, 0.0), centre=(3.0, -1.0))


class Flat(EnergyModel):
    """A model of any data."""

    def potential(self, x, batch):
        return x.sum(-1) * 0


def batch_of(dim, num=4000):
    """Sequences of three frames and of one, with observations that must not matter."""
    mask = torch.tensor([[True, True, True], [True, False, False]]).repeat(num, 1)
    return Batch(torch.full((2 * num, 3, dim), torch.nan), mask, torch.arange(2 * num))


@pytest.mark.parametrize("info", [BITS, DICE], ids=["bits", "symbols"])
def test_draws_of_bits_and_symbols_have_the_stated_probabilities(info):
    torch.manual_seed(0)
    guide, batch = Marginals(Flat(info)), batch_of(info.dim)
    x = guide.draw(batch)
    assert (x[~batch.mask] == 0).all()
    each = info.symbols or ((0, 1),) * info.dim
    states = torch.tensor(list(itertools.product(*each))).float()
    nats = guide.log_prob(states[:, None, None], batch.first(1))[:, 0, 0]
    torch.testing.assert_close(nats.exp().sum(), torch.tensor(1.0))
    counts = (x[batch.mask][:, None] == states).all(-1).double().sum(0)
    assert counts.sum() == batch.num_frames
    expected = nats.double().exp() * batch.num_frames
    often = expected > 5
    statistic = ((counts - expected).square() / expected)[often].sum()
    assert statistic < chi2.isf(FALSE_POSITIVE_RATE, int(often.sum()) - 1)
    torch.testing.assert_close(guide.frame.of_codes(guide.frame.codes(states)), nats)


def test_draws_of_real_numbers_have_the_moments_of_training():
    torch.manual_seed(0)
    guide, batch = Marginals(Flat(REAL), scale=1.5), batch_of(2)
    x = guide.draw(batch)[batch.mask].double()
    std = torch.tensor([3.0, 1.5], dtype=torch.float64)
    assert_mean(x.square(), std.square(), power=0.1)
    found = guide.log_prob(torch.ones(2 * 4000, 3, 2), batch)
    expected = torch.distributions.Normal(0.0, std).log_prob(torch.ones(2)).sum().float()
    torch.testing.assert_close(found, expected * batch.mask)
    codes = guide.frame.codes(x.float())
    torch.testing.assert_close(guide.frame.of_codes(codes), guide.frame().log_prob(x.float()))
    assert codes.std() < 1.6  # in units of the standard deviations


@pytest.mark.parametrize("info", [BITS, DICE, REAL], ids=["bits", "symbols", "real"])
def test_pyro_draws_and_scores_the_same_distribution(info):
    torch.manual_seed(0)
    guide, batch = Marginals(Flat(info)), batch_of(info.dim, num=2)
    x = draw(guide, batch, 5).values["x"]
    assert x.shape == (5, 4, 3, info.dim)
    found = score(guide, batch, {"x": x})["x"]
    torch.testing.assert_close(found, guide.log_prob(x, batch))


def test_other_data_is_refused():
    for kind, words in (("unit", "data.kind=real"), ("count", "'bits' has count values")):
        with pytest.raises(DataError, match=words):
            Marginals(Flat(replace(BITS, kind=kind)))
    with pytest.raises(DataError, match="has missing values"):
        Marginals(Flat(replace(BITS, has_missing=True)))


def test_a_guide_without_a_density_says_so():
    class Draws(ObservationGuide):
        def draw(self, batch):
            return torch.zeros_like(batch.x)

        def forward(self, batch):
            del batch

    with pytest.raises(CompatibilityError, match="guide Draws has no density"):
        Draws(RBM(BITS)).log_prob(torch.zeros(1, 1, 3), batch_of(3))
