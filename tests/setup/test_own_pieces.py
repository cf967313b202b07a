"""Usual mistakes in models, guides and objectives of one's own are named before training."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from adversarial import points
from torch import nn

from pyrodgm.data.base import Sequences, Splits
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError, UsageError
from pyrodgm.guides import GuideTraits, ImplicitGuide, NoGuide, RecurrentBernoulli, StepGuide
from pyrodgm.models import VAE, EnergyModel, Generator, ModelTraits, StepModel
from pyrodgm.networks.cells import make_cell
from pyrodgm.objectives import AVB, PCD, RLOO, Loss, Needs, Objective, Phase
from pyrodgm.setup.dry_run import check_runs

D, J = 3, 2


def bits(length=1):
    rng = np.random.default_rng(0)
    parts = {}
    for split, number in {"train": 8, "valid": 4, "test": 4}.items():
        x = rng.integers(0, 2, (number * length, D)).astype(np.float32)
        parts[split] = Sequences(x, np.full(number, length))
    return Splits.of("bits", "binary", parts)


class Own(EnergyModel):
    """An energy model that is right; those below are not."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info):
        super().__init__(info)
        self.bias = nn.Parameter(torch.zeros(info.dim))

    def potential(self, x, batch):
        return x @ self.bias

    def gibbs(self, x, batch):
        return self.bias.sigmoid().expand_as(x).bernoulli()


class Total(Own):
    def potential(self, x, batch):
        return (x @ self.bias).sum()


class Features(Own):
    def potential(self, x, batch):
        return x * self.bias


class Forgotten(Own):
    def potential(self, x, batch):
        x @ self.bias


class OfTheBatch(Own):
    def potential(self, x, batch):
        return batch.x @ (1 + self.bias)


class ReadsTheBatch(Own):
    def potential(self, x, batch):
        return (x * batch.x) @ (1 + self.bias)


class Grey(Own):
    def gibbs(self, x, batch):
        return self.bias.sigmoid().expand_as(x)


class InPlace(Own):
    def gibbs(self, x, batch):
        x[..., 0] = 1 - x[..., 0]
        return x


class Short(Own):
    def gibbs(self, x, batch):
        return x[..., :2]


class Normalised(Own):
    traits = ModelTraits(latents="none", sequential=False)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (Total, r"Total.potential\(x, batch\) gives a tensor of shape \(\); expected \(2, 1\)"),
        (Features, r"gives a tensor of shape \(2, 1, 3\); expected \(2, 1\), a number of nats"),
        (Forgotten, r"Forgotten.potential\(x, batch\) gives nothing; expected \(2, 1\)"),
        (OfTheBatch, r"gives a tensor of shape \(2, 1\); expected \(1, 2, 1\)"),
        (ReadsTheBatch, "depends on batch.x, the observations of the batch"),
        (Grey, r"Grey.gibbs\(x, batch\) gives values such as 0.5, but the data has bits"),
        (InPlace, r"InPlace.gibbs\(x, batch\) changes the observations .* x.clone\(\)"),
        (Short, r"Short.gibbs\(x, batch\) gives a tensor of shape \(2, 1, 2\); expected"),
        (Normalised, "derives from EnergyModel, but its traits declare density='normalised'"),
    ],
)
def test_an_energy_model_is_told_what_is_wrong(kind, part):
    splits = bits()
    check_runs(PCD(model := Own(splits.info), NoGuide(model)), splits)
    with pytest.raises(CompatibilityError, match=part):
        check_runs(PCD(model := kind(splits.info), NoGuide(model)), splits)


class OwnGuide(ImplicitGuide):
    def __init__(self, model):
        super().__init__(model, noise_dim=2)
        self.network = nn.Linear(2, self.latents["z"].dim)

    def generate(self, noise, batch):
        return {"z": self.network(noise)}


class OtherName(OwnGuide):
    def generate(self, noise, batch):
        return {"h": self.network(noise)}


class NoName(OwnGuide):
    def generate(self, noise, batch):
        return self.network(noise)


class OtherSize(OwnGuide):
    def generate(self, noise, batch):
        return {"z": self.network(noise)[..., :1]}


class Detached(OwnGuide):
    def generate(self, noise, batch):
        return {"z": self.network(noise).detach()}


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (OtherName, r"gives a dictionary with 'h'; give a dictionary .* \{'z': ...\}"),
        (NoName, r"gives a tensor of shape \(1, 2, 1, 2\); give a dictionary"),
        (OtherSize, r"site 'z', gives a tensor of shape \(1, 2, 1, 1\); expected \(1, 2, 1, 2\)"),
        (Detached, "gives values without gradients to its weights"),
    ],
)
def test_a_guide_without_a_density_is_told_what_is_wrong(kind, part):
    splits = points()
    check_runs(AVB(model := VAE(splits.info, latent_dim=J), OwnGuide(model)), splits)
    with pytest.raises(CompatibilityError, match=part):
        check_runs(AVB(model := VAE(splits.info, latent_dim=J), kind(model)), splits)


class Points(Generator):
    """A generator that is right."""

    traits = ModelTraits(latents="none", sequential=False, density="none")

    def __init__(self, info):
        super().__init__(info, noise_dim=2)
        self.network = nn.Linear(2, info.dim)

    def generate(self, noise, batch):
        return self.network(noise)


class Doubled(Points):
    def generate(self, noise, batch):
        return self.network(noise).repeat_interleave(2, -1)


class Named(Points):
    def generate(self, noise, batch):
        return {"x": self.network(noise)}


class Copies(Points):
    def generate(self, noise, batch):
        return batch.x + 0 * self.network(noise)


class Game(Objective):
    """A game that is right."""

    needs = Needs(latents=frozenset({"none"}), has_density=None, density=None)
    headline = "gap"

    def __init__(self, model, guide):
        super().__init__(model, guide)
        self.critic = nn.Linear(model.info.dim, 1)

    def phases(self):
        critic = Phase("critic", (self.critic,), self.critic_loss)
        return critic, Phase("generator", (self.model,), self.generator_loss)

    def critic_loss(self, batch):
        gap = self.critic(self.model.draw(batch)).mean() - self.critic(batch.x).mean()
        return Loss(gap, {"gap": gap.detach()})

    def generator_loss(self, batch):
        return Loss(-self.critic(self.model.draw(batch)).mean(), {})


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (Doubled, r"site 'x', gives a tensor of shape \(1, 2, 1, 4\); expected \(1, 2, 1, 2\)"),
        (Named, r"site 'x', gives a dictionary with 'x'; expected \(1, 2, 1, 2\)"),
        (Copies, r"Copies.generate\(noise, batch\) depends on batch.x"),
    ],
)
def test_a_generator_is_told_what_is_wrong(kind, part):
    splits = points()
    check_runs(Game(model := Points(splits.info), NoGuide(model)), splits)
    with pytest.raises(CompatibilityError, match=part):
        check_runs(Game(model := kind(splits.info), NoGuide(model)), splits)


class NoLoss(Game):
    def generator_loss(self, batch):
        return self.critic(self.model.draw(batch)).mean()


class OfTheCritic(Game):
    def generator_loss(self, batch):
        return Loss(-self.critic(self.model.draw(batch).detach()).mean(), {})


class ReportsRows(Game):
    def critic_loss(self, batch):
        return super().critic_loss(batch)._replace(report={"gap": batch.x})


class ReportsWords(Game):
    def critic_loss(self, batch):
        return super().critic_loss(batch)._replace(report={"gap": "small"})


class ReportsGradients(Game):
    def critic_loss(self, batch):
        loss = super().critic_loss(batch)
        return loss._replace(report={"gap": loss.surrogate})


class OtherHeadline(Game):
    headline = "gab"


class NoPhases(Game):
    def phases(self):
        return ()


class OnePhase(Game):
    def phases(self):
        return super().phases()[0]


class SameNames(Game):
    def phases(self):
        return (*super().phases(), Phase("critic", (self.critic,), self.critic_loss))


class InAList(Game):
    def __init__(self, model, guide):
        super().__init__(model, guide)
        self.layers = [nn.Linear(2, 2)]


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (NoLoss, r"loss of phase 'generator' of NoLoss is a tensor of shape \(\); expected Loss"),
        (OfTheCritic, "phase 'generator' of OfTheCritic .* has no gradient"),
        (ReportsRows, r"reports 'gap' as a tensor of shape \(2, 1, 2\); expected one number"),
        (ReportsWords, "reports 'gap' as a str; expected one number"),
        (ReportsGradients, r"reports 'gap' with gradients, .* give value.detach\(\)"),
        (OtherHeadline, "the headline of OtherHeadline, 'gab', .* did you mean 'gap'"),
        (NoPhases, r"NoPhases.phases\(\) gives an empty tuple; expected a tuple of at least one"),
        (OnePhase, r"OnePhase.phases\(\) gives a Phase; expected a tuple"),
        (SameNames, "SameNames has several phases of the name 'critic'"),
        (InAList, "InAList holds modules in the list self.layers, .* torch.nn.ModuleList"),
    ],
)
def test_an_objective_is_told_what_is_wrong(kind, part):
    splits = points()
    with pytest.raises(CompatibilityError, match=part):
        check_runs(kind(model := Points(splits.info), NoGuide(model)), splits)


class Chain(StepModel):
    """A model over time that is right, but for its history and its distribution."""

    traits = ModelTraits(latents="binary", sequential=True)

    def __init__(self, info, *, history=1):
        super().__init__(info)
        self.latents, self.observed = {"z": Site(J, "binary")}, {"x": info.dim}
        if history is not None:
            self.history = history
        self.network = nn.Linear(J, info.dim)

    def step(self, draw, past, encoded, t):
        z = draw("z", BernoulliVector(past["z"]))
        draw("x", self.network(z))


def test_a_draw_that_is_no_distribution_is_refused():
    splits = bits(length=4)
    model = Chain(splits.info)
    with pytest.raises(CompatibilityError, match=r"Chain draws 'x' from a tensor of shape .* give"):
        check_runs(RLOO(model, RecurrentBernoulli(model)), splits)


def test_a_model_without_a_history_is_refused():
    with pytest.raises(CompatibilityError, match=r"Chain does not set self\.history, which guide"):
        RecurrentBernoulli(Chain(bits(length=4).info, history=None))


@pytest.mark.parametrize("make", [lambda kind: Site(3, kind), lambda kind: ModelTraits(kind, True)])
def test_unknown_kinds_of_latents_are_refused(make):
    with pytest.raises(UsageError, match="latents are of kind 'bits'; known: binary, categorical"):
        make("bits")
    with pytest.raises(UsageError, match="latents are of kind 'binray'; did you mean 'binary'"):
        make("binray")


class Coupled(Own):
    """A potential of a frame that looks at the frame before."""

    def potential(self, x, batch):
        before = nn.functional.pad(x[:, :-1] if x.dim() == 3 else x[:, :, :-1], (0, 0, 1, 0))
        return (x * (self.bias + before)).sum(-1)


def test_potentials_of_frames_that_depend_on_each_other_are_refused():
    splits = bits(length=3)
    model = Coupled(splits.info)
    with pytest.raises(CompatibilityError, match="depends on other frames"):
        check_runs(PCD(model, NoGuide(model)), splits)
    model.of_sequences = True
    check_runs(PCD(model, NoGuide(model)), splits)


class Path(StepModel):
    """A model of sequences that is right; those below are not."""

    traits = ModelTraits(latents="binary", sequential=True)

    def __init__(self, info):
        super().__init__(info)
        self.history, self.states = 1, ("h",)
        self.latents, self.observed = {"z": Site(J, "binary")}, {"x": info.dim}
        self.cell = make_cell("gru", J, 4)
        self.prior, self.emission = nn.Linear(4, J), nn.Linear(J, info.dim)

    def step(self, draw, past, encoded, t):
        h = past.carry("h", past["z"], self.cell)
        z = draw("z", BernoulliVector(self.prior(h)))
        draw("x", BernoulliVector(self.emission(z)))


class Undeclared(Path):
    def __init__(self, info):
        super().__init__(info)
        self.states = ()


class Peeking(Path):
    def encode(self, batch):
        return batch.x

    def step(self, draw, past, encoded, t):
        h = past.carry("h", past["z"], self.cell)
        z = draw("z", BernoulliVector(self.prior(h)))
        draw("x", BernoulliVector(self.emission(z) + encoded))


class Posterior(StepGuide):
    """A guide that is right; those below are not."""

    traits = GuideTraits(latents="binary", sequential=True)

    def __init__(self, model):
        super().__init__(model)
        self.history = 0
        self.network = nn.Linear(model.info.dim, J)
        self.norm = nn.BatchNorm1d(J)

    def encode(self, batch):
        return nn.functional.dropout(self.network(batch.x), 0.5, self.training)

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded))


class Dropping(Posterior):
    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(5 * nn.functional.dropout(encoded + 1)))


class Normalising(Posterior):
    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(5 * self.norm(encoded.flatten(0, -2)).view_as(encoded)))


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (Path, Posterior, ""),
        (Undeclared, Posterior, r"carries the state h, .* set self.states = \('h',\)"),
        (Peeking, Posterior, r"Peeking.encode\(batch\) depends on batch.x"),
        (Path, Dropping, "Dropping.step gives other distributions of 'z'"),
        (Path, Normalising, "put dropout and normalisation over the batch into encode"),
    ],
)
def test_steps_that_are_not_what_their_callers_expect_are_refused(model, guide, message):
    splits = bits(length=4)
    p = model(splits.info)
    q = guide(p)
    state = {name: value.clone() for name, value in q.state_dict().items()}
    refused = pytest.raises(CompatibilityError, match=message) if message else nullcontext()
    with refused:
        check_runs(RLOO(p, q), splits)
    assert all(torch.equal(value, state[name]) for name, value in q.state_dict().items())
