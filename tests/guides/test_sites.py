"""Every site of a guide says whether its draws carry gradients."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, NormalVector
from pyrodgm.engine.terms import terms
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.models import ModelTraits, Site, StepModel
from pyrodgm.objectives import ELBO
from pyrodgm.setup import compat
from variants import INFOS, D

INFO = INFOS["bernoulli"]
KINDS = ("binary", "continuous")


class Switch(StepModel):
    """A bit and a number in every frame, the number given the bit and the one before."""

    traits = ModelTraits(latents=KINDS, sequential=True)
    history = 1

    def __init__(self, info):
        super().__init__(info)
        self.latents = {"s": Site(1, "binary"), "z": Site(2, "continuous")}
        self.observed = {"x": info.dim}
        self.decoder = nn.Linear(2, info.dim)

    def step(self, draw, past, encoded, t):
        s = draw("s", BernoulliVector(0.5 * past["s"]))
        z = draw("z", dist.Normal(s + 0.5 * past["z"], 1.0).to_event(1))
        draw("x", BernoulliVector(self.decoder(z)))


class SwitchGuide(StepGuide):
    """Both from the frame, the number given the bit as well."""

    traits = GuideTraits(latents=KINDS, sequential=True, reparameterised=True)
    history = 1

    def __init__(self, model):
        super().__init__(model)
        self.bit, self.mean = nn.Linear(D, 1), nn.Linear(D, 2)

    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        s = draw("s", BernoulliVector(self.bit(encoded)))
        loc = self.mean(encoded) + s
        draw("z", NormalVector(loc, torch.ones_like(loc)))


class Scoring(SwitchGuide):
    """The same, whose numbers carry no gradients either."""

    traits = GuideTraits(latents=KINDS, sequential=True)


def test_continuous_sites_are_pathwise_and_bits_are_scored():
    model = Switch(INFO)
    guide = SwitchGuide(model)
    compat.check(model, guide, ELBO)
    assert {name: site.pathwise for name, site in guide.latents.items()} == {"s": False, "z": True}
    found = terms(model, guide, Batch.of(torch.rand(4, 3, D).round()), 5)
    assert set(found.path) == {"z"}
    assert set(found.score) == {"s"}
    assert found.values["z"].requires_grad
    assert not found.values["s"].requires_grad


def test_a_guide_that_does_not_say_so_has_scores_alone():
    model = Switch(INFO)
    found = terms(model, Scoring(model), Batch.of(torch.rand(4, 3, D).round()), 5)
    assert not found.path
    assert set(found.score) == {"s", "z"}
    assert not any(value.requires_grad for value in found.values.values())


def test_one_site_may_be_scored_beside_others():
    guide = SwitchGuide(Switch(INFO))
    guide.latents = {"s": Site(1, "binary"), "z": Site(2, "continuous", scored=True)}
    assert not guide.reparameterised
    draws = terms(guide.model, guide, Batch.of(torch.rand(4, 3, D).round()), 2)
    assert set(draws.score) == {"s", "z"}


def test_a_guide_without_one_of_the_sites_is_refused():
    model = Switch(INFO)
    guide = SwitchGuide(model)
    del guide.latents["s"]
    with pytest.raises(CompatibilityError, match=r"draws \{'z': '2 continuous'\}; they must agree"):
        compat.check(model, guide, ELBO)
