"""Small random fields of rows, and a linear generator of them."""

import torch
from torch import nn

from oracles import all_paths
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.guides import GeneratorGuide
from pyrodgm.models.base import ModelTraits
from pyrodgm.models.energy import EnergyModel

D = 4
BITS = DataInfo("bits", "binary", D, (0.5, 0.2, 0.9, 0.4), 2.0, 3)
REAL = DataInfo("real", "real", 2, (0.0, 0.0), 1.0, 1, std=(1.0, 1.0))
STATES = all_paths(1, D)[:, 0]


class Pairs(EnergyModel):
    """A potential of products of neighbouring bits."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info):
        super().__init__(info)
        self.bias = nn.Parameter(torch.tensor([0.5, -1.0, 0.2, 0.8]).double())
        self.weight = nn.Parameter(torch.tensor([1.0, -0.7, 1.3]).double())

    def potential(self, x, batch):
        return x @ self.bias + (x[..., 1:] * x[..., :-1]) @ self.weight


class Bowl(EnergyModel):
    """A normal distribution, with an unknown normaliser as far as anyone can tell."""

    traits = ModelTraits(latents="none", sequential=False, density="unnormalised")

    def __init__(self, info, precision=1.5):
        super().__init__(info)
        self.precision = nn.Parameter(torch.tensor(precision).double())

    def potential(self, x, batch):
        return -0.5 * self.precision * x.square().sum(-1)


def ragged():
    """Sequences of 3, 1 and 2 frames of bits."""
    mask = torch.arange(3) < torch.tensor([3, 1, 2])[:, None]
    x = STATES[:9].reshape(3, 3, D) * mask[..., None]
    return Batch(x, mask, torch.arange(3))


def generator(model, weight):
    """x = W h + s epsilon."""
    made = GeneratorGuide(model, noise_dim=1, output_std=0.5).double()
    made.program.network = nn.Sequential(nn.Linear(1, 2, bias=False)).double()
    made.program.network[0].weight.data[:] = weight
    return made


WEIGHT = torch.tensor([[0.8], [-0.4]]).double()
