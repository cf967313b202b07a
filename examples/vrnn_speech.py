"""Speech: a variational recurrent network on frames of samples, and what it draws as WAV files.

An utterance of a second is 40 frames of 200 samples. Samples from the model are brought back to
samples of 16 bits by the constants of the data, `splits.info.audio`.
"""

from __future__ import annotations

from pathlib import Path

import click

import pyrodgm as dgm
from pyrodgm.figures.samples_file import save_samples


@click.command()
@click.option("--data", default="fsdd", help="Dataset name, or a folder of .wav files.")
@click.option("--steps", default=2000)
@click.option("--out", default="drawn", help="Folder of the samples.")
def main(data, steps, out):
    splits = dgm.data.load(data)
    model = dgm.models.VRNN(splits.info, latent_dim=32, hidden_dim=200)
    guide = dgm.guides.VRNNGuide(model)
    run = dgm.fit(dgm.objectives.ELBO(model, guide), splits, steps=steps, lr=1e-3)

    bound = run.evaluate("test").nats_per_frame
    print(f"{bound:.1f} nats per frame of standardised samples, one-sample lower bound")
    print(f"{run.trivial_bounds('test')['independent'].nats_per_frame:.1f} independent samples")
    lower = splits.info.audio.nats_of_units
    print(f"{bound - lower:.1f} nats per frame of samples of 16 bits")

    Path(out).mkdir(exist_ok=True)
    x = run.sample(4)["x"]
    for name in ("sample.wav", "samples.png"):
        for path in save_samples(x, splits.info, Path(out, name)):
            print(path)


if __name__ == "__main__":
    main()
