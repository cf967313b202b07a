"""A guide without a density in one file: latents are a function of a row and of noise.

From the command line, with no other change:

    pyrodgm fit --model vae --guide examples/own_implicit_guide.py:Mixed --objective avb

and from Python as below, on the four points of adversarial variational Bayes.
"""

from __future__ import annotations

import click
import torch

import pyrodgm as dgm
from pyrodgm.guides import ImplicitGuide
from pyrodgm.networks.mlp import relu_network


class Mixed(ImplicitGuide):
    """z = a(x) v(noise): features of the noise, mixed by weights that depend on the row."""

    def __init__(self, model, *, noise_dim: int = 16, features: int = 32):
        super().__init__(model, noise_dim=noise_dim)
        size = self.latents["z"].dim
        self.features = relu_network(noise_dim, (64,), features)
        self.weights = relu_network(model.info.dim, (64,), size * (features + 1))

    def generate(self, noise, batch):
        weights = self.weights(batch.x).unflatten(-1, (self.latents["z"].dim, -1))
        v = torch.nn.functional.pad(self.features(noise), (0, 1), value=1.0)
        return {"z": (weights @ v[..., None])[..., 0]}


@click.command()
@click.option("--steps", default=3000)
def main(steps):
    splits = dgm.data.load("avb-points")
    model = dgm.models.VAE(splits.info)
    run = dgm.fit(dgm.objectives.AVB(model, Mixed(model)), splits, steps=steps)
    bound = run.evaluate("test")
    print(f"{run.steps} steps, {bound.nats_per_frame:.3f} nats per frame on test by quadrature")


if __name__ == "__main__":
    main()
