"""A deep temporal sigmoid belief network on bouncing balls: predictions and their error.

The published errors of the next frame, summed over pixels, are 2.79 for the best network and 3.88
for the best before it (Gan et al., 2015). Moving the true centres by their last displacement has an
error of 2.03.
"""

from __future__ import annotations

import click

import pyrodgm as dgm


@click.command()
@click.option("--videos", default=1000, help="For training; the paper has 4000.")
@click.option("--steps", default=2000)
@click.option("--units", default=500, help="Deterministic units of the middle layer.")
@click.option("--out", default=None, help="Where to keep the run.")
def main(videos, steps, units, out):
    splits = dgm.data.load(
        "balls", num_train=videos, num_valid=min(videos, 40), num_test=min(videos, 50)
    )
    sizes = {"hidden_dim": 50, "history": 2}
    model = dgm.models.DTSBND(splits.info, layer_dim=units, **sizes)
    guide = dgm.guides.RecurrentDeterministic(model, layer_dim=100)
    objective = dgm.objectives.LocalRLOO(model, guide, particles=2)
    run = dgm.fit(objective, splits, steps=steps, batch_size=8, lr=1e-3, precision="bf16", out=out)

    print(f"{run.evaluate('test').nats_per_frame:.2f} nats per frame, one-sample bound")
    for name, found in run.predict("test", samples=10).items():
        print(f"{found.squared_error:.2f} ± {found.standard_error:.2f} squared error, {name}")


if __name__ == "__main__":
    main()
