"""A guide is made from its model, and holds no parameters but its own."""

import copy

import pytest
import torch
from torch import nn

import pyrodgm as dgm
from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.sites import sizes
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import (
    GUIDES,
    Guide,
    GuideTraits,
    NoGuide,
    RecurrentBernoulli,
    RecurrentDeterministic,
    StepGuide,
)
from pyrodgm.models import AR, DTSBNS, TSBN
from pyrodgm.objectives import RLOO
from variants import INFOS

INFO = INFOS["bernoulli"]


class Sharing(StepGuide):
    """Calls a network of its model, besides one of its own."""

    traits = GuideTraits(latents="binary", sequential=True)
    history = 1

    def __init__(self, model):
        super().__init__(model)
        self.own = nn.Linear(model.info.dim, self.latents["z"].dim)

    def encode(self, batch):
        return self.own(batch.x)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded + self.model.layers[0].own(past["z"])))


@pytest.mark.parametrize("guide", [RecurrentBernoulli, RecurrentDeterministic])
def test_sites_sizes_and_order_are_those_of_the_model(guide):
    model = DTSBNS(INFO, hidden_dim=(5, 2), history=3)
    made = guide(model)
    assert sizes(made.latents) == sizes(model.latents) == {"z1": 5, "z2": 2}
    assert made.history == 3
    assert guide(model, history=1).history == 1


def test_a_guide_holds_its_own_parameters_alone():
    model = TSBN(INFO, hidden_dim=3)
    guide = Sharing(model)
    assert guide.model is model
    assert set(guide.state_dict()) == {"own.weight", "own.bias"}
    objective = RLOO(model, guide)
    parameters = list(objective.parameters())
    assert len(parameters) == len({id(p) for p in parameters})
    assert not any(name.startswith("guide.model") for name in objective.state_dict())


def test_a_shared_network_learns_through_the_guide_too():
    model = TSBN(INFO, hidden_dim=3)
    found = terms(model, Sharing(model), Batch.of(torch.rand(2, 4, INFO.dim).round()), 2)
    found.log_q.sum().backward()
    assert model.layers[0].own.weight.grad.abs().sum() > 0


def test_a_copy_of_a_pair_shares_within_the_copy():
    model = TSBN(INFO, hidden_dim=3)
    objective = RLOO(model, Sharing(model))
    again = copy.deepcopy(objective)
    assert again.guide.model is again.model
    assert again.model is not model


def test_weights_of_a_shared_network_are_restored_from_a_run_folder(tiny, tmp_path):
    splits = dgm.data.load(str(tiny))

    def made():
        model = TSBN(splits.info, hidden_dim=3)
        return RLOO(model, Sharing(model))

    run = dgm.fit(made(), splits, out=tmp_path / "run", steps=4, evaluate_every=2)
    again = dgm.Run.load(tmp_path / "run", splits, objective=made())
    assert again.guide.model is again.model
    assert run.evaluate("test") == again.evaluate("test")


class Old(StepGuide):
    """Made from the data's facts, as guides were."""

    traits = GuideTraits(latents="binary", sequential=True)

    def __init__(self, info, *, hidden_dim: int = 2):
        self.hidden_dim = hidden_dim

    encode = step = Sharing.step


@pytest.mark.parametrize("source", [INFO, TSBN(INFO)])
def test_a_guide_that_takes_the_facts_is_told_what_it_takes_now(source):
    with pytest.raises(UsageError, match=r"guide Old takes the data's facts .* must take the mo"):
        Old(source, hidden_dim=3)


@pytest.mark.parametrize("guide", GUIDES.values())
def test_what_is_no_model_is_refused(guide: type[Guide]):
    with pytest.raises(UsageError, match=f"guide {guide.__name__} takes the data's facts"):
        guide(INFO)
    with pytest.raises(UsageError, match=f"{guide.__name__} was given TSBN; give a model"):
        guide(TSBN)
    with pytest.raises(CompatibilityError, match=r"Linear does not set self\.info, self\.latents"):
        guide(nn.Linear(1, 1))


def test_no_guide_draws_nothing():
    assert NoGuide(AR(INFO)).latents == NoGuide(TSBN(INFO)).latents == {}
