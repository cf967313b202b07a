"""Your own generator and an objective with two phases in one file: an adversarial game.

From the command line, with no other change:

    pyrodgm fit --model examples/own_game.py:Points --objective examples/own_game.py:Game

and from Python as below. There is no bound: the critic learns to distinguish data from draws, with
its own optimiser and new rows in every turn; the generator learns to make draws similar to data.
"""

from __future__ import annotations

from types import MappingProxyType

import click
import numpy as np
from torch.nn.functional import softplus

import pyrodgm as dgm
from pyrodgm.evaluate.samples.modes import shares
from pyrodgm.models import Companions, Generator, ModelTraits
from pyrodgm.networks.critics import slope
from pyrodgm.networks.mlp import relu_network
from pyrodgm.objectives import Loss, Needs, Objective, OptimizerOptions, Phase


class Points(Generator):
    """x = g(noise): draws without a density."""

    traits = ModelTraits(latents="none", sequential=False, density="none")
    companions = Companions("none", "wgan", "gmm5")

    def __init__(self, info, *, noise_dim: int = 2):
        super().__init__(info, noise_dim=noise_dim)
        self.network = relu_network(noise_dim, (64, 64), info.dim)

    def generate(self, noise, batch):
        return self.network(noise)


class Game(Objective):
    """The critic's f(x) is the log-odds of data against draws; its slope at data is kept small."""

    needs = Needs(latents=frozenset({"none"}), has_density=None, density=frozenset({"none"}))
    headline = "critic_nats"
    fit_defaults = MappingProxyType({"lr": 1e-3, "betas": (0.5, 0.9), "batch_size": 128})

    def __init__(self, model, guide, *, penalty: float = 0.1, critic_lr: float = 1e-3):
        super().__init__(model, guide)
        self.critic = relu_network(model.info.dim, (64, 64), 1)
        self.penalty, self.adam = penalty, OptimizerOptions(lr=critic_lr, betas=(0.5, 0.9))

    def phases(self):
        turns = {"optimizer": self.adam, "repeats": 3, "fresh": True}
        critic = Phase("critic", (self.critic,), self.critic_loss, **turns)
        return critic, Phase("generator", (self.model,), self.generator_loss)

    def critic_loss(self, batch):
        fake = self.model.draw(batch)[0].detach()
        nats = (softplus(-self.critic(batch.x)) + softplus(self.critic(fake))).mean()
        penalty = slope(lambda x: self.critic(x)[..., 0], batch.x).square().mean()
        return Loss(nats + self.penalty * penalty, {"critic_nats": nats.detach()})

    def generator_loss(self, batch):
        return Loss(softplus(-self.critic(self.model.draw(batch)[0])).mean(), {})


@click.command()
@click.option("--steps", default=4000)
def main(steps):
    splits = dgm.data.load("gmm5")
    model = Points(splits.info)
    run = dgm.fit(Game(model, dgm.guides.NoGuide(model)), splits, steps=steps)
    drawn, info = run.sample(2000)["x"].flatten(0, -2).numpy(), splits.info
    near = shares(drawn, np.array(info.modes), info.mode_std)
    print(f"share of draws near each mode: {' '.join(f'{share:.2f}' for share in near)}")


if __name__ == "__main__":
    main()
