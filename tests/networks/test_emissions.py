"""Emissions: initial values, inputs of networks, and refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError, UsageError
from pyrodgm.models import MODELS
from pyrodgm.networks.emissions import EMISSIONS, make_emission
from pyrodgm.networks.inputs import Inputs
from pyrodgm.schema import schema
from pyrodgm.setup.build import build_objective
from pyrodgm.setup.config import resolve

D = 3
MEAN, STD = (0.3, 0.5, 0.7), (0.5, 2.0, 0.1)
STEP = tuple(0.1 + 0.1 * place for place in range(D))
SYMBOLS = {"symbols": ((0, 1), (1, 2, 6), (4,)), "frequencies": (0.3, 0.7, 0.5, 0.5, 0.0, 1.0)}
INFO = DataInfo("tiny", "binary", D, MEAN, 4.0, 5, STD, STEP, **SYMBOLS)
FIT = {
    "binary": {"bernoulli", "darn", "nade"},
    "unit": {"bernoulli"},
    "categorical": {"categorical"},
    "count": {"multinomial", "negative-binomial", "poisson"},
    "real": {"gaussian", "gaussian-mixture"},
}


@pytest.mark.parametrize("kind", FIT)
def test_data_of_a_kind_takes_the_emissions_that_fit_it(kind: str) -> None:
    info = replace(INFO, kind=kind)
    for name in EMISSIONS:
        if name in FIT[kind]:
            assert type(make_emission(name, info)) is EMISSIONS[name]
        else:
            with pytest.raises(DataError, match=f"'{name}' scores .*has {kind} values") as caught:
                make_emission(name, info)
            fitting = str(caught.value).split("fit: ")[1].split(".")[0]
            assert set(fitting.split(", ")) == FIT[kind]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("binary", "bernoulli"),
        ("unit", "bernoulli"),
        ("categorical", "categorical"),
        ("count", "multinomial"),
        ("real", "gaussian"),
    ],
)
def test_auto_fits_the_data(kind: str, name: str) -> None:
    assert type(make_emission("auto", replace(INFO, kind=kind))) is EMISSIONS[name]


def test_symbols_start_as_often_as_they_occur_and_those_never_seen_stay_possible() -> None:
    emission = make_emission("auto", replace(INFO, kind="categorical"))
    probs = emission(emission.start(INFO)).probs
    rare = 0.001 / 1.001
    exact = torch.tensor([0.3, 0.7, (1 - rare) / 2, (1 - rare) / 2, rare, 1.0])
    torch.testing.assert_close(probs, exact)


def test_symbols_that_never_vary_are_refused() -> None:
    info = replace(INFO, kind="categorical", symbols=((4,),), frequencies=(1.0,))
    with pytest.raises(DataError, match="every feature of 'tiny' has a single symbol"):
        make_emission("auto", info)


def test_networks_see_symbols_one_hot_and_nothing_before_the_first_frame_or_where_missing() -> None:
    inputs = Inputs(replace(INFO, kind="categorical"))
    x = torch.tensor([[0.0, 6.0, 4.0], [1.0, -1.0, 4.0]])
    hot = torch.tensor([[1.0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 1]])
    torch.testing.assert_close(inputs(x), hot)
    window = torch.cat([x[1], x[0]])
    torch.testing.assert_close(inputs.past(window, torch.tensor(2)), hot.flip(0).flatten())
    start = torch.cat([x[0], torch.zeros(D)])  # in which zero is a symbol
    seen = inputs.past(start, torch.tensor(1))
    torch.testing.assert_close(seen, torch.cat([hot[0], torch.zeros(6)]))


@pytest.mark.parametrize("name", ["poisson", "negative-binomial"])
def test_rates_start_at_the_means_and_stay_below_a_bound(name: str) -> None:
    info = DataInfo("tiny", "count", D, (6.0, 0.5, 80.0), 4.0, 5, (4.0, 0.8, 9.5))
    emission = make_emission(name, info)
    law = emission(emission.start(info))
    torch.testing.assert_close(law.mean, torch.tensor(info.mean), rtol=1e-4, atol=0)
    if name == "negative-binomial":  # 16 and 0.64 and 90.25
        torch.testing.assert_close(law.variance, torch.tensor(info.std).square(), rtol=0.02, atol=0)
    far = emission(torch.full((emission.size,), 1e4)).mean
    assert far.isfinite().all()
    torch.testing.assert_close(far, 100 * (torch.tensor(info.mean) + torch.tensor(info.std) + 1))


@pytest.mark.parametrize("emission", ["poisson", "negative-binomial"])
@pytest.mark.parametrize(
    "name", [name for name, cls in MODELS.items() if "emission" in schema(cls)]
)
def test_every_parameter_of_every_model_learns_from_rates(name: str, emission: str) -> None:
    info = DataInfo("tiny", "count", D, (2.0,) * D, 4.0, 5, (1.5,) * D)
    values = {"model": {"name": name, "emission": emission}, "data": {"source": "tiny.npz"}}
    objective = build_objective(resolve(values), info)
    x = torch.poisson(torch.full((3, 5, D), 2.0))
    loss = objective(Batch.of(x))
    assert torch.isfinite(loss.surrogate)
    loss.surrogate.backward()
    idle = [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_one_feature_of_counts_is_poisson_and_never_multinomial() -> None:
    info = DataInfo("spikes", "count", 1, (2.0,), 4.0, 5, (1.5,))
    assert type(make_emission("auto", info)) is EMISSIONS["poisson"]
    with pytest.raises(DataError, match=r"every model would score 0; use emission 'poisson'"):
        make_emission("multinomial", info)


def test_an_unknown_emission_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown emission 'gausian'; did you mean 'gaussian'"):
        make_emission("gausian", INFO)


def test_hidden_units_of_a_nade_are_for_a_nade() -> None:
    assert make_emission("nade", INFO, 7).size == D + 7
    for name in ("auto", "bernoulli"):
        with pytest.raises(UsageError, match=r"nade_dim is for emission 'nade'.*'bernoulli'"):
            make_emission(name, INFO, 7)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bernoulli", "unit"), ("gaussian", "real"), ("gaussian-mixture", "real")],
)
def test_what_it_starts_from_gives_the_means_of_the_data(name: str, kind: str) -> None:
    info = replace(INFO, kind=kind)
    emission = make_emission(name, info)
    torch.testing.assert_close(emission(emission.start(info)).mean, torch.tensor(MEAN))


def test_a_gaussian_starts_with_the_variances_of_the_data() -> None:
    info = replace(INFO, kind="real")
    emission = make_emission("gaussian", info)
    scale = emission(emission.start(info)).variance.sqrt()
    torch.testing.assert_close(scale, torch.tensor(STD), rtol=2e-3, atol=0)  # a thousandth more


def test_counts_start_with_their_shares_and_draw_the_mean_total() -> None:
    info = DataInfo("tiny", "count", D, (6.0, 3.0, 0.8), 4.0, 5)
    emission = make_emission("multinomial", info)
    law = emission(emission.start(info))
    torch.testing.assert_close(law.probs, torch.tensor(info.mean) / sum(info.mean))
    assert law.sample(torch.Size([4])).sum(-1).tolist() == [10] * 4
    rare = replace(info, mean=(0.1, 0.1, 0.1))
    assert make_emission("multinomial", rare)(torch.zeros(D)).sample().sum() == 1


def test_a_nade_starts_at_the_means_up_to_its_small_weights() -> None:
    emission = make_emission("nade", INFO, 4)
    draws = emission(emission.start(INFO)).sample(torch.Size([20_000]))
    torch.testing.assert_close(draws.mean(0), torch.tensor(MEAN), atol=0.03, rtol=0)


@pytest.mark.parametrize(("log_variance", "scale"), [(-1e4, 0.001), (1e4, 2.001), (0.0, 0.89543)])
def test_standard_deviations_stay_between_bounds_and_gradients_finite(
    log_variance: float, scale: float
) -> None:
    info = replace(INFO, kind="real")
    numbers = torch.full((2 * D,), log_variance, requires_grad=True)
    law = make_emission("gaussian", info)(numbers)
    torch.testing.assert_close(law.stddev, scale * torch.tensor(STD), rtol=1e-4, atol=0)
    (gradient,) = torch.autograd.grad(law.log_prob(torch.zeros(D)), numbers)
    assert gradient.isfinite().all()


def test_features_that_never_vary_stay_finite() -> None:
    info = DataInfo("tiny", "real", D, MEAN, 4.0, 5, (0.0,) * D)
    emission, inputs = make_emission("gaussian", info), Inputs(info)
    x = torch.tensor(MEAN)
    assert emission(emission.start(info)).log_prob(x).isfinite()
    assert inputs(x).eq(0).all()


@pytest.mark.parametrize(
    ("kind", "look"),
    [
        ("binary", lambda x: x),
        ("unit", lambda x: x),
        ("count", lambda x: (1 + x).log()),
        ("real", lambda x: (x - torch.tensor(MEAN)) / torch.tensor(STD)),
    ],
)
def test_networks_see_the_past_as_zero_before_the_first_frame(kind: str, look) -> None:
    inputs = Inputs(replace(INFO, kind=kind))
    x = torch.rand(5, D).round()
    torch.testing.assert_close(inputs(x), look(x))
    for t in range(3):
        lags = [look(x[t - lag]) if lag <= t else torch.zeros(D) for lag in (1, 2)]
        if kind == "real" and t > 1:
            lags[1] = (x[t - 1] - x[t - 2]) / torch.tensor(STEP)
        window = torch.cat([x[t - lag] if lag <= t else torch.zeros(D) for lag in (1, 2)])
        torch.testing.assert_close(inputs.past(window, torch.tensor(t)), torch.cat(lags))
    assert inputs.past(x[:, :0], torch.arange(5)).shape == (5, 0)
