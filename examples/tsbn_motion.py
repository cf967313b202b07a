"""Motion capture: temporal sigmoid belief networks beside baselines without latent variables.

A pose changes little from one frame to the next, so copying the last one is a strong baseline.
Errors should be compared with it and with a linear autoregression.
"""

from __future__ import annotations

import click

import pyrodgm as dgm


@click.command()
@click.option("--data", default="mocap", help="Dataset name or ragged npz file.")
@click.option("--steps", default=3000)
def main(data, steps):
    splits = dgm.data.load(data)
    model = dgm.models.DTSBNS(splits.info, hidden_dim=(100, 100))
    guide = dgm.guides.RecurrentBernoulli(model)
    run = dgm.fit(dgm.objectives.LocalRLOO(model, guide), splits, steps=steps, lr=1e-3)

    print(f"{run.evaluate('test').nats_per_frame:.2f} nats per frame, one-sample bound")
    for name, found in run.predict("test", samples=50).items():
        print(f"{found.squared_error:.2f} ± {found.standard_error:.2f} squared error, {name}")


if __name__ == "__main__":
    main()
