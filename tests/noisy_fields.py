"""Small fields over sequences beside a noise of two log-odds."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.guides import ObservationGuide
from pyrodgm.models import SequenceField

INFO = DataInfo("bits", "binary", 1, (0.4,), 3.0, 4)
DATA = [[1, 1, 0], [0, 1], [1], [1, 1, 1, 0], [0, 0]]
NU, ALPHA = 3, 0.7


class Coins(ObservationGuide):
    """Bits with log-odds that depend on the bit before."""

    def __init__(self, model):
        super().__init__(model)
        self.log_odds = nn.Parameter(torch.tensor([0.3, -0.6]))

    def draw(self, batch):
        x, before = [], torch.zeros(batch.size, dtype=torch.long)
        for _ in range(batch.length):
            x.append(self.log_odds[before].sigmoid().bernoulli())
            before = x[-1].long()
        return torch.stack(x, 1)[..., None].masked_fill(~batch.mask[..., None], 0.0)

    def log_prob(self, x, batch):
        before = F.pad(x[..., :-1, 0], (1, 0)).long()
        signs = 2 * x[..., 0] - 1
        return F.logsigmoid(signs * self.log_odds[before]).masked_fill(~batch.mask, 0.0)

    def forward(self, batch):
        raise AssertionError("not used here")


def sequences():
    """The data, of unequal lengths."""
    x = np.concatenate([np.array(each, np.uint8) for each in DATA])[:, None]
    return Sequences(x, np.array([len(each) for each in DATA]))


def made(objective, reference="none", log_z="by-length", **options):
    """An objective in double precision, its field and normalisers at random."""
    torch.manual_seed(3)
    model = SequenceField(INFO, hidden_dim=(3, 2), reference=reference, log_z=log_z)
    found = objective(model, Coins(model), noise_per_datum=NU, **options).double()
    with torch.no_grad():
        for parameter in (*model.parameters(), *found.log_z.parameters()):
            parameter.normal_(std=0.5)
    return found
