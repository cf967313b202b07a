"""Your own guide in one file; it also depends on the next frame.

From the command line, with no other change:

    pyrodgm fit --model tsbn --guide examples/next_frame_guide.py:NextFrameBernoulli

and from Python as below. Both executions, fused over time and unrolled into ordinary Pyro sites,
come from the same two methods.
"""

from __future__ import annotations

import click
import torch
from torch import nn

import pyrodgm as dgm
from pyrodgm.distributions import BernoulliVector
from pyrodgm.guides import GuideTraits, StepGuide


class NextFrameBernoulli(StepGuide):
    """q(z_t = 1 | z_{t-1}, x_{t-1}, x_t, x_{t+1}): a one-frame look ahead."""

    traits = GuideTraits(latents="binary", sequential=True)

    history = 1

    def __init__(self, model):
        super().__init__(model)
        size = self.latents["z"].dim
        self.from_x = nn.Linear(3 * model.info.dim, size)
        self.from_z = nn.Linear(size, size, bias=False)

    def encode(self, batch):
        x = batch.x
        before = nn.functional.pad(x[:, :-1], (0, 0, 1, 0))
        after = nn.functional.pad(x[:, 1:], (0, 0, 0, 1))
        return self.from_x(torch.cat([before, x, after], -1))

    def step(self, draw, past, encoded, t):
        draw("z", BernoulliVector(encoded + self.from_z(past["z"])))


@click.command()
@click.option("--data", default="balls", help="Dataset name or file.")
@click.option("--steps", default=1000)
def main(data, steps):
    splits = dgm.data.load(data)
    for execution in ("fused", "unrolled"):
        model = dgm.models.TSBN(splits.info, hidden_dim=50)
        guide = NextFrameBernoulli(model)
        objective = dgm.objectives.RLOO(model, guide, execution=execution)
        run = dgm.fit(objective, splits, steps=steps if execution == "fused" else 2)
        bound = run.evaluate("test")
        print(f"{execution}: {run.steps} steps, {bound.nats_per_frame:.3f} nats per frame on test")


if __name__ == "__main__":
    main()
