"""A two-phase objective without any density: a generator of points against a critic.

The critic has an optimiser of its own and several turns a step, each on a fresh batch, and its
gradient penalty needs gradients of gradients. There is no bound anywhere.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import nn

import pyrodgm as dgm
from processes import equal_weights
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate.likelihood.validation import Validation
from pyrodgm.guides import Guide, GuideTraits
from pyrodgm.models import Model, ModelTraits
from pyrodgm.objectives import Loss, Needs, Objective, Phase
from pyrodgm.objectives.optimizer import OptimizerOptions
from pyrodgm.objectives.schedule import Schedule
from pyrodgm.objectives.state import Chains, RowCache, Running

D, NOISE = 2, 0.3


def points(number=64, seed=0):
    """Points around zero, each of them a row without time."""
    rng = np.random.default_rng(seed)

    def split(count):
        x = (NOISE * rng.normal(size=(count, D))).astype(np.float32)
        return Sequences(x, np.ones(count, int))

    return Splits.of(
        "points", "real", {"train": split(number), "valid": split(8), "test": split(8)}
    )


def ragged_points(seed=0):
    """Ragged sequences of such points."""
    rng = np.random.default_rng(seed)

    def split(count):
        lengths = rng.integers(1, 6, count)
        return Sequences(rng.normal(size=(lengths.sum(), D)).astype(np.float32), lengths)

    return Splits.of("points", "real", {"train": split(21), "valid": split(4), "test": split(4)})


class Shift(Model):
    """Noise around a point that is learned; its density is not given."""

    traits: ClassVar[ModelTraits] = ModelTraits(latents="none", sequential=False, density="none")

    def __init__(self, info):
        super().__init__(info)
        self.history = 0
        self.latents, self.observed = {}, {"x": info.dim}
        self.shift = nn.Parameter(torch.ones(info.dim))

    def draw(self, *shape):
        return self.shift + NOISE * torch.randn(*shape, len(self.shift))

    def forward(self, batch):
        raise AssertionError("there is no density to ask for")


class Nobody(Guide):
    """There are no latents to draw."""

    traits: ClassVar[GuideTraits] = GuideTraits(latents="none", sequential=False, has_density=False)

    def forward(self, batch):
        raise AssertionError("there is nothing to draw")


class Adversarial(Objective):
    """Wasserstein distance with a gradient penalty; what it remembers is there to be kept."""

    needs: ClassVar[Needs] = Needs(latents=frozenset({"none"}), has_density=None, density=None)
    headline: ClassVar[str] = "distance"

    def __init__(self, model, guide, *, critic_lr=0.01, turns=3):
        super().__init__(model, guide)
        self.critic = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, 1))
        self.critic_options = OptimizerOptions(lr=critic_lr, betas=(0.5, 0.9))
        self.turns = turns
        self.mean = Running(0.9)
        self.rows = RowCache(D)
        self.chains = Chains()
        self.weight = Schedule("linear", start=0.0, end=1.0, steps=10)
        self.seen = []

    def phases(self):
        critic = Phase(
            "critic",
            (self.critic,),
            self.critic_loss,
            optimizer=self.critic_options,
            repeats=self.turns,
            fresh=True,
        )
        return (critic, Phase("generator", (self.model,), self.generator_loss, every=2))

    def begin(self, training):
        self.rows.begin(training)
        self.chains["x"] = torch.randn(5, D)

    def critic_loss(self, batch):
        self.seen.append(batch.index.tolist())
        real, fake = batch.x[batch.mask], self.model.draw(int(batch.mask.sum())).detach()
        between = (fake + torch.rand(len(fake), 1) * (real - fake)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        distance = self.critic(real).mean() - self.critic(fake).mean()
        penalty = (slope.norm(dim=-1) - 1).square().mean()
        if self.training:
            self.mean.update(distance)
            self.rows.write(batch, self.rows.read(batch) + 1)
            self.chains["x"] = 0.9 * self.chains["x"] + torch.randn(5, D)
        report = {"distance": distance.detach(), "penalty": penalty.detach()}
        return Loss(10 * penalty - distance, report)

    def generator_loss(self, batch):
        fake = self.model.draw(batch.size)
        loss = -self.weight() * self.critic(fake).mean()
        return Loss(loss, {"generator_loss": loss.detach()})


class Chosen(Adversarial):
    """The same, chosen by how far the mean of its draws is from that of the data."""

    def validate(self, sequences, *, seed=0):
        del seed
        everything = sequences.batch(range(len(sequences)))
        mean = everything.x[everything.mask].mean(0)
        off = float((self.model.shift.detach() - mean).norm())
        return Validation("distance of means", -off, {"distance_of_means": off})


def adversarial(splits, kind=Adversarial, **own):
    """The objective from a fixed start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Shift(splits.info)
        return kind(model, Nobody(model), **own)


def fit_or_resume(out, options):
    """Fit, or resume without options; whether weights are equal, and which rows were written."""
    splits = ragged_points()
    made = adversarial(splits)
    if options:
        dgm.fit(made, splits, out=out, **options)
    else:
        dgm.resume(out, objective=made, splits=splits)
    everything = splits.train.batch(range(len(splits.train)))
    return equal_weights(made), made.rows.written(everything).tolist()
