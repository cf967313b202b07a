"""A hidden Markov model of symbols: which die was thrown.

A casino throws a fair die, and sometimes a loaded one that shows six with probability one half. The
rolls are categorical: faces have no order and no size. A hidden Markov model is fitted to 20,000
rolls, and its likelihood and states are compared with those of the true model and the true dice.
"""

from __future__ import annotations

import click
import numpy as np
import torch

import pyrodgm as dgm
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.evaluate.latents.states import states

MOVES = np.array([[0.95, 0.05], [0.10, 0.90]])  # from the fair and from the loaded die
FACES = np.array([[1 / 6] * 6, [0.1] * 5 + [0.5]])
LENGTH = 200


def throw(rolls, seed):
    """Rolls in sequences of 200, and the die of each, 0 or 1."""
    rng = np.random.default_rng(seed)
    dice = np.zeros((rolls // LENGTH, LENGTH), int)
    dice[:, 0] = rng.random(len(dice)) < 1 / 3
    for t in range(1, LENGTH):
        dice[:, t] = rng.random(len(dice)) < MOVES[dice[:, t - 1], 1]
    faces = (rng.random((*dice.shape, 1)) > FACES.cumsum(1)[dice][..., :5]).sum(-1) + 1
    return Sequences(faces.reshape(-1, 1), np.full(len(dice), LENGTH)), dice.ravel()


def true_model(info):
    """The casino itself."""
    model = dgm.models.HMM(info, num_states=2, start="random")
    with torch.no_grad():
        model.by_state.copy_(torch.from_numpy(FACES).log())
        model.cell.transition.copy_(torch.from_numpy(MOVES).log())
        model.cell.initial.copy_(torch.tensor([2 / 3, 1 / 3]).log())
    return model


@click.command()
@click.option("--steps", default=400)
@click.option("--rolls", default=20_000)
def main(steps, rolls):
    parts, dice = {}, {}
    for seed, split in enumerate(("train", "valid", "test")):
        parts[split], dice[split] = throw(rolls if split == "train" else 2000, seed)
    splits = Splits.of("casino", "categorical", parts)
    model = dgm.models.HMM(splits.info, num_states=2)
    guide = dgm.guides.NoGuide(model)
    run = dgm.fit(dgm.objectives.ML(model, guide), splits, steps=steps, evaluate_every=50)

    fitted = run.evaluate("train").nats_per_frame
    batch = splits.train.batch(range(len(splits.train)))
    true = float(true_model(splits.info).log_likelihood(batch).detach()) / rolls
    print(f"{fitted:.4f} nats per frame; the true model has {true:.4f}")
    for name, each in (("fitted", run.model), ("true", true_model(splits.info))):
        found = states(each, splits.test)
        right = (np.concatenate(found.most_likely) == dice["test"]).mean()
        print(f"{max(right, 1 - right):.1%} of the dice found by the {name} model (Viterbi)")
    print(run.states().summary())


if __name__ == "__main__":
    main()
