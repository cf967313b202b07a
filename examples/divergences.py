"""Six divergences of data and draws: which of five clusters a generator covers, and how well.

An f-GAN minimises an f-divergence by a critic of the log ratio of data and draws (Nowozin, Cseke
and Tomioka, 2016). KL(data, draws) punishes a missed cluster, and KL(draws, data) a draw where no
data is. From the command line, one of them:

    pyrodgm fit --model generator --objective f-gan --data gmm5 --set objective.divergence=kl
    pyrodgm evaluate RUN --estimator samples
"""

from __future__ import annotations

from typing import get_args

import click
import numpy as np

import pyrodgm as dgm
from pyrodgm.evaluate.samples.modes import shares
from pyrodgm.objectives.divergences import DivergenceName


@click.command()
@click.option("--steps", default=3000)
@click.option("--seed", default=0)
def main(steps, seed):
    splits = dgm.data.load("gmm5")
    info = splits.info
    print("share of draws near each cluster, and near any")
    for name in get_args(DivergenceName):
        model = dgm.models.FeedForwardGenerator(info)
        objective = dgm.objectives.FGAN(model, dgm.guides.NoGuide(model), divergence=name)
        run = dgm.fit(objective, splits, steps=steps, seed=seed)
        drawn = run.sample(2000)["x"].flatten(0, -2).numpy()
        near = shares(drawn, np.array(info.modes), info.mode_std)
        print(f"{name:16} {' '.join(f'{share:.2f}' for share in near)}   {near.sum():.2f}")


if __name__ == "__main__":
    main()
