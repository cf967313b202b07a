"""When is each latent on? What the guide expects of every unit in every frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches
from pyrodgm.evaluate.chunks import FRAMES_AT_ONCE
from pyrodgm.evaluate.plots import ONE_STEP
from pyrodgm.guides import Guide
from pyrodgm.models import Model
from pyrodgm.seeds import forked
from pyrodgm.traces import law_of, trace_pair

FRAMES_SHOWN = 400


def expected_latents(
    model: Model, guide: Guide, sequences: Sequences, *, draws: int = 20, seed: int = 0
) -> dict[str, np.ndarray]:
    r"""What the guide expects of every latent in every frame; of a binary one, its odds to be on.

    .. math:: \frac1K \sum_k \mathbb{E}_q[z_t \mid z^k_{<t}, x], \qquad z^k \sim q(z \mid x)

    Args:
        model: the model p, over the same latents.
        guide: the guide q.
        sequences: the split.
        draws: paths that the mean is taken over, K.
        seed: of the draws; the global generator is left alone.

    Returns:
        By site, all frames of all sequences end to end, (sum of lengths, J); empty for a model
        without latents.
    """
    found = {name: np.empty((sequences.num_frames, dim)) for name, dim in model.latents.items()}
    device = next(model.parameters()).device
    with torch.no_grad(), forked(seed, "expected latents"):
        for rows in evaluation_batches(sequences.lengths, max(1, FRAMES_AT_ONCE // draws)):
            batch = sequences.batch(rows).to(device)
            for name, value in _expected(model, guide, batch, draws):
                for row, frames in zip(rows, value.cpu().numpy(), strict=True):
                    start, length = sequences.starts[row], sequences.lengths[row]
                    found[name][start : start + length] = frames[:length]
    return found


def _expected(model: Model, guide: Guide, batch: Batch, draws: int) -> Iterator[tuple[str, Tensor]]:
    """Every site's mean over K paths, (B, T, J)."""
    _, sites = trace_pair(model, guide, batch, particles=draws, dim=-3)
    for name in model.latents:
        law = law_of(sites[name])
        yield name, law.mean.expand(draws, batch.size, batch.length, -1).mean(0)


def latent_activity(frames: np.ndarray, share: np.ndarray, title: str = "") -> Figure:
    """When the units of a layer are on in one sequence, and how often over a whole split.

    Args:
        frames: what is expected of the units in one sequence, (T, J).
        share: the same on average over a split, (J,); units are sorted by it.
        title: of the figure.
    """
    order = np.argsort(-share, kind="stable")
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    image = left.imshow(
        frames[:FRAMES_SHOWN, order].T,
        aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest",
    )  # fmt: skip
    left.set(xlabel="frame", ylabel="unit, most active first", title=title)
    figure.colorbar(image, ax=left, label="expected value", pad=0.01)
    right.barh(np.arange(len(share)), share[order], height=1.0, color=ONE_STEP)
    right.set(xlabel="mean over the split", xlim=(0, 1))
    right.spines[["top", "right"]].set_visible(False)
    return figure
