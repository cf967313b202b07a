"""Networks and running values of ObjectiveELBO in modules and in the parameter store."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from torch import nn

from pyrodgm.errors import UsageError
from pyrodgm.objectives import NVIL, ObjectiveELBO

X = torch.tensor([[0.5, 1.0], [2.0, -1.0], [0.0, 0.3]])


@pytest.fixture(autouse=True)
def _own_param_store():
    pyro.set_rng_seed(0)
    with pyro.get_param_store().scope():
        yield


class Program(nn.Module):
    def __init__(self, sign: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))
        self.sign = sign


class Model(Program):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            mean = (self.w * z)[..., None].expand(x.shape)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


class Guide(Program):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.w * x[:, 0]))


def test_a_module_holds_the_baseline_before_it_has_run() -> None:
    model, guide = Model(1.0), Guide(1.0)
    module = ObjectiveELBO(NVIL)(model, guide)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    assert len(list(module.parameters())) == 2 + 4
    for _ in range(3):
        optimiser.zero_grad()
        module(X).backward()
        optimiser.step()
    baseline = module.elbo.objective.baseline
    assert baseline[2].weight.abs().sum() > 0  # it starts at zero
    assert not any(name.startswith("pyrodgm") for name in pyro.get_param_store())
    other = ObjectiveELBO(NVIL)(Model(1.0), Guide(1.0))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.elbo.objective.mean.value, module.elbo.objective.mean.value)


def programs():
    w = nn.Parameter(torch.tensor(0.4))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=pyro.param("lam", w) * x[:, 0]))

    return Model(1.0), guide


def trained(steps: int, **options):
    model, guide = programs()
    elbo = ObjectiveELBO(NVIL, **options)
    svi = SVI(model, guide, pyro.optim.SGD({"lr": 0.01}), elbo)
    for _ in range(steps):
        svi.step(X)
    return elbo, svi


def test_a_store_that_is_saved_and_loaded_goes_on_as_if_it_had_not_been(tmp_path) -> None:
    elbo, svi = trained(5)
    pyro.get_param_store().save(tmp_path / "store")
    with pyro.get_param_store().scope():
        pyro.clear_param_store()
        pyro.get_param_store().load(tmp_path / "store")
        again, other = trained(0)
        torch.manual_seed(3)
        there = [other.step(X) for _ in range(4)]
        state = {name: value.clone() for name, value in again.objectives.state_dict().items()}
    torch.manual_seed(3)
    assert [svi.step(X) for _ in range(4)] == there
    assert state.keys() == elbo.objectives.state_dict().keys()
    for name, value in elbo.objectives.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_one_name_is_one_state_and_another_name_another() -> None:
    one, _ = trained(2)
    same, _ = trained(1)
    other, _ = trained(1, name="other")
    assert same.objective.baseline[2].weight is one.objective.baseline[2].weight
    assert other.objective.baseline[2].weight is not one.objective.baseline[2].weight


def test_a_state_that_does_not_fit_is_refused_with_the_way_out() -> None:
    trained(1)
    with pytest.raises(UsageError, match=r"another name.*clear_param_store"):
        trained(1, baseline_dim=3)


def test_observations_of_another_size_are_refused_in_words() -> None:
    elbo = ObjectiveELBO(NVIL)
    elbo.differentiable_loss(Model(1.0), Guide(1.0), X)
    with pytest.raises(UsageError, match="takes 2 observed features per frame, but got 1"):
        elbo.differentiable_loss(Model(1.0), Guide(1.0), X[:, :1])
