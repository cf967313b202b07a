"""Random fields of rows: exact normalisers, codes, and annealing of every kind of values."""

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from oracles import assert_mean
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.errors import CompatibilityError, DataError, QuadratureWarning
from pyrodgm.evaluate.likelihood.annealing import annealed_draws, forward_weights
from pyrodgm.evaluate.likelihood.energy import energy_likelihood, validate_energy
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import NoGuide
from pyrodgm.models import RandomField
from pyrodgm.models.kernel_path import KernelPath

BITS = DataInfo("bits", "binary", 4, (0.5, 0.2, 0.9, 0.5), 1.0, 1)
DICE = DataInfo(
    "dice",
    "categorical",
    2,
    (0.0, 0.0),
    1.0,
    1,
    symbols=((1, 2, 5), (0, 7)),
    frequencies=(0.5, 0.3, 0.2, 0.1, 0.9),
)
REAL = DataInfo("real", "real", 2, (3.0, -1.0), 1.0, 1, std=(2.0, 0.5), centre=(3.0, -1.0))
EVERY = (BITS, DICE, REAL)


def field(info: DataInfo, scale: float = 4.0, **options) -> RandomField:
    """A field that is far from its reference."""
    torch.manual_seed(1)
    model = RandomField(info, hidden_dim=(6, 5), **options)
    with torch.no_grad():
        model.network.layers[-1].weight.mul_(scale)
    return model


def rows(info: DataInfo) -> torch.Tensor:
    """Every row of bits or symbols, (N, D)."""
    each = info.symbols or ((0, 1),) * info.dim
    return torch.tensor(list(itertools.product(*each))).float()


def nats(model: RandomField, x: torch.Tensor) -> torch.Tensor:
    return model.potential(x[:, None], Batch.of(x[:, None]))[:, 0]


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.name)
def test_without_a_network_the_field_is_its_reference(info):
    model = field(info, 0.0)
    assert model.enumerable
    torch.testing.assert_close(model.log_normaliser().float(), torch.tensor(0.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("info", [BITS, DICE], ids=["bits", "symbols"])
@pytest.mark.parametrize("reference", ["marginals", "none"])
def test_the_normaliser_is_that_of_enumeration(info, reference):
    model = field(info, reference=reference)
    expected = nats(model, rows(info)).double().logsumexp(0)
    torch.testing.assert_close(model.log_normaliser(), expected)
    if reference == "none":
        model = field(info, 0.0, reference=reference)
        states = math.log(len(rows(info)))
        assert float(model.log_normaliser().detach()) == pytest.approx(states, abs=1e-6)


def test_the_normaliser_of_real_numbers_is_an_integral():
    """Of a kinked function of one number, integrated here piece by piece in the data's units."""
    one = replace(REAL, dim=1, mean=(3.0,), std=(2.0,), centre=(3.0,))
    model = field(one, 3.0, reference_scale=0.7)
    x = torch.linspace(-14.0, 14.0, 280_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        expected = nats(model, x.float()).double().logsumexp(0) + math.log(28.0 / 280_000)
    found = model.log_normaliser()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    two = field(REAL)
    x = Sequences(
        np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32), np.ones(40, int)
    )
    likelihood = energy_likelihood(two, x)
    assert likelihood.exact
    assert "by integration" in likelihood.text()
    assert validate_energy(two, x).by == "exact"


def test_mass_beyond_the_grid_and_detail_within_it_are_told():
    one = replace(REAL, dim=1, mean=(3.0,), std=(2.0,), centre=(3.0,))
    warning = (
        r"about 11\.1% or more of the density lies beyond 8 standard deviations.*reference=marg"
    )
    with pytest.warns(QuadratureWarning, match=warning):
        field(one, 0.0, reference="none").log_normaliser()
    with pytest.warns(QuadratureWarning, match=r"too narrow for the grid"):
        field(one, 0.0, reference_scale=1e-3).log_normaliser()


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.name)
def test_weights_along_the_path_have_the_normaliser_as_their_mean(info):
    torch.manual_seed(0)
    model = field(info, 2.0)
    with torch.no_grad():
        for path in (
            model.annealing(),
            KernelPath(model._nats, info, model.codes, model.network.layers[-1].weight),
        ):
            log_w = forward_weights(path, 8_000, 4).double()
            assert_mean((log_w - model.log_normaliser()).exp()[:, None], torch.ones(1).double())


def test_chains_along_the_path_are_accepted_as_wanted():
    torch.manual_seed(0)
    large = DataInfo("large", "binary", 80, (0.3,) * 80, 1.0, 1)
    for info in (DICE, REAL, large):
        model = field(info)
        with torch.no_grad():
            path = model.annealing()
            codes = path.codes(path.start(100))
            for beta in (0.3, 1.0):
                place = round(beta * 100)
                accepted = [path._moved(codes, beta, path.log_steps[place])]
                for _ in range(30):
                    accepted.append(path._moved(accepted[-1][0], beta, path.log_steps[place]))
            share = float(torch.stack([each[1].mean() for each in accepted[10:]]).mean())
        assert 0.3 < share < 0.99, (
            info.name,
            share,
        )  # few bits are accepted even at the largest step


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.name)
def test_codes_have_the_potential_of_their_rows(info):
    torch.manual_seed(0)
    model = field(info)
    x = torch.randn(7, 3, 2) if info is REAL else rows(info)[torch.randint(6, (7, 3))]
    batch, codes = Batch.of(x), model.codes(x)
    torch.testing.assert_close(model.codes.decoded(codes), x)
    of_codes = model.potential_of_codes(codes.requires_grad_(), batch)
    torch.testing.assert_close(of_codes, model.potential(x, batch))
    of_codes.sum().backward()
    assert codes.grad.abs().min(-1).values.max() > 0


@pytest.mark.parametrize("info", EVERY, ids=lambda info: info.name)
def test_draws_at_the_end_of_the_path_are_rows_of_the_data(info):
    model = field(info, 1.0)
    with torch.no_grad():
        x = annealed_draws(model.annealing(), 50, sweeps=20)
    assert x.shape == (50, info.dim)
    if info is REAL:
        assert (x.mean(0) - torch.tensor([0.0, 0.0])).abs().max() < 4  # in the data's units
    else:
        assert set(map(tuple, x.tolist())) <= set(map(tuple, rows(info).tolist()))


def test_samples_are_in_the_units_of_the_data():
    model = field(REAL, 0.0)
    model.sweeps = 4
    x = sample(model, NoGuide(model), REAL, None, num=400, length=2)["x"]
    assert x.shape == (400, 2, 2)
    assert_mean(x.flatten(0, 1), torch.tensor(REAL.mean).double(), power=0.2)


def test_pictures_and_normalised_weights():
    info = DataInfo("pictures", "binary", 20, (0.5,) * 20, 1.0, 1, image_shape=(4, 5))
    model = RandomField(info, network=(3,), hidden_dim=5, weight_norm=True)
    x = torch.rand(6, 1, 20).round()
    found = model.potential(x, Batch.of(x))
    assert found.shape == (6, 1)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    assert not torch.equal(other.potential(x, Batch.of(x)), found)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.potential(x, Batch.of(x)), found)
    directions = [name for name, _ in model.named_parameters() if name.endswith("original1")]
    assert len(directions) == sum(isinstance(m, nn.Linear | nn.Conv2d) for m in model.modules())
    with pytest.raises(DataError, match="not pictures"):
        RandomField(BITS, network="conv")


def test_what_is_not_exact_and_what_is_not_scored_is_refused():
    many = RandomField(replace(BITS, dim=21, mean=(0.5,) * 21))
    assert not many.enumerable
    with pytest.raises(CompatibilityError, match="too many states to enumerate"):
        many.log_normaliser()
    assert not RandomField(
        replace(REAL, dim=3, mean=(0.0,) * 3, std=(1.0,) * 3, centre=())
    ).enumerable
    for kind in ("unit", "count"):
        with pytest.raises(DataError, match=f"has {kind} values, and RandomField is for"):
            RandomField(replace(BITS, kind=kind))
    with pytest.raises(DataError, match="missing values"):
        RandomField(replace(BITS, has_missing=True))
