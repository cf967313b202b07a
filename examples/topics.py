"""Dynamic topics: what the State of the Union is about, year by year.

A hidden Markov sigmoid belief network of word counts. Some tokens of every year are held out: those
of validation choose the weights, those of test score the prediction of words. Baselines are the
words of the same year, of the year before and of all years.
"""

from __future__ import annotations

import click

import pyrodgm as dgm


@click.command()
@click.option("--data", default="stu", help="Dataset name or ragged npz file of counts.")
@click.option("--steps", default=1500)
@click.option("--units", default=25)
def main(data, steps, units):
    splits = dgm.data.load(data)
    model = dgm.models.HMSBN(splits.info, hidden_dim=units)
    guide = dgm.guides.RecurrentBernoulli(model)
    objective = dgm.objectives.LocalRLOO(model, guide)
    options = {"lr": 3e-3, "weight_decay": 1.0, "evaluate_every": 25}
    run = dgm.fit(objective, splits, steps=steps, **options)

    print(f"{run.evaluate('valid').nats_per_frame:.0f} nats per frame, one-sample bound")
    for name, score in run.word_scores("test").items():
        print(f"{score.nats:.3f} nats per held-out token, {name}")
    for topic in run.topics() if splits.info.words else []:
        years = [*map(int, splits.info.frame_labels[: len(topic.probability)])]
        on = [str(year) for year, p in zip(years, topic.probability, strict=True) if p > 0.5]
        print(f"{on[0] if on else '-'} to {on[-1] if on else '-'}: {', '.join(topic.words)}")


if __name__ == "__main__":
    main()
