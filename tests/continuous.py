"""A recurrent model of continuous latents, and a guide that shares its recurrence."""

import math

import pyro.distributions as dist
import torch
from torch import nn

from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.programs import join
from pyrodgm.guides import GuideTraits, StepGuide
from pyrodgm.lags import lagged
from pyrodgm.models import ModelTraits, Site, StepModel
from pyrodgm.networks.cells import make_cell
from variants import INFOS, D


class Counted(nn.Module):
    """A recurrence that counts how often it runs."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.dim, self.state_dim, self.calls = cell, cell.dim, cell.state_dim, 0

    def forward(self, drive, state):
        self.calls += 1
        return self.cell(drive, state)

    def outputs(self, drive):
        self.calls += 1
        return self.cell.outputs(drive)

    def states(self, drive):
        self.calls += 1
        return self.cell.states(drive)


class Recurrent(StepModel):
    """x_t and z_t given h_t = f(h_{t-1}, x_{t-1}, z_{t-1})."""

    traits = ModelTraits(latents="continuous", sequential=True)

    def __init__(self):
        super().__init__(INFOS["bernoulli"])
        self.history, self.states = 1, ("h",)
        self.latents, self.observed = {"z": Site(2, "continuous")}, {"x": D}
        self.cell = Counted(make_cell("gru", D + 2, 4))
        self.prior, self.emission = nn.Linear(4, 2), nn.Linear(6, D)

    def hidden(self, past):
        return past.carry("h", lambda: join(past["x"], past["z"]), self.cell)

    def step(self, draw, past, encoded, t):
        h = self.hidden(past)
        z = draw("z", dist.Normal(self.prior(h), 1.0).to_event(1))
        draw("x", BernoulliVector(self.emission(join(h, z))))


class SharedGuide(StepGuide):
    """A guide that shares the recurrence of its model."""

    traits = GuideTraits(latents="continuous", sequential=True, reparameterised=True)

    def __init__(self, model):
        super().__init__(model)
        self.history, self.states = 1, ("h",)
        self.mean = nn.Linear(4 + D, 2)

    def encode(self, batch):
        return torch.cat([batch.x, lagged(batch.x, 1)], -1)

    def step(self, draw, past, encoded, t):
        now, before = encoded.split(D, -1)
        h = past.carry("h", lambda: join(before, past["z"]), self.model.cell)
        draw("z", dist.Normal(self.mean(join(h, now)), 0.5).to_event(1))


def as_wide_as_the_prior(guide):
    """A guide with standard deviations of one, so that importance weights have a variance."""
    for posterior in guide.posteriors.values():
        raw = posterior.last.bias.data.chunk(2)[1]
        raw.fill_(math.log(math.expm1(1.0)))
    return guide
