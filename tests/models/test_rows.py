"""A row without time is a case of a step model: T = 1, and no guide where nothing is latent."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.models import ModelTraits, StepModel
from pyrodgm.networks.emissions import make_emission

BITS = np.array([[0, 0], [0, 1], [1, 1]], np.uint8).repeat([8, 2, 6], 0)
ROWS = Sequences(BITS, np.ones(len(BITS), int))


class Rows(StepModel):
    """The bits of a row by a NADE, whose biases are all of its parameters but the weights."""

    traits = ModelTraits(latents="none", sequential=False)
    history = 0

    def __init__(self, info):
        super().__init__(info)
        self.latents, self.observed = {}, {"x": info.dim}
        self.emission = make_emission("nade", info, 4)
        self.biases = nn.Parameter(self.emission.start(info))

    def step(self, draw, past, encoded, t):
        draw("x", self.emission(self.biases.expand(*past["x"].shape[:-1], -1)))


@pytest.mark.parametrize("sequential", [False, None])
def test_a_row_model_is_fitted_without_a_guide(sequential, tmp_path):
    """To the entropy of the rows, which is the best that any model reaches."""
    splits = Splits.of("rows", "binary", {"train": ROWS, "valid": ROWS, "test": ROWS})
    kind = type("Kind", (Rows,), {"traits": replace(Rows.traits, sequential=sequential)})
    torch.manual_seed(0)
    model = kind(splits.info)
    objective = dgm.objectives.ML(model, dgm.guides.NoGuide(model))
    run = dgm.fit(objective, splits, steps=300, evaluate_every=100, lr=0.1, averaging=0.0)
    p = np.array([8, 2, 6]) / 16
    assert run.evaluate("test").nats_per_example == pytest.approx((p * np.log(p)).sum(), abs=0.01)
