"""Sections of a report on restricted Boltzmann machines: filters of hidden units, and chains."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.evaluate.latents.dictionary import Dictionary
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.evaluate.posterior.kept import spread_rows
from pyrodgm.figures.sequences import pictures
from pyrodgm.figures.units import draw_dictionary
from pyrodgm.models import RBM
from pyrodgm.models.temporal import TemporalRBM
from pyrodgm.report.blocks import Picture, Section, png_uri
from pyrodgm.runs.run import Run

CHAINS = 10  # drawn below each other; fewer if there are fewer rows
SWEEPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # after which a chain is drawn


def sections(run: Run, split: str, seed: int) -> list[Section]:
    """Filters of the hidden units, and chains where rows are pictures; empty for other models."""
    if not isinstance(run.model, RBM | TemporalRBM):
        return []
    found = [filters(run, run.model, split, seed)]
    if isinstance(run.model, RBM) and run.info.image_shape:
        found.append(chains(run, run.model, split, seed))
    return found


def filters(run: Run, model: RBM | TemporalRBM, split: str, seed: int) -> Section:
    """The weights of the hidden units, those with the largest effect first."""
    total = torch.zeros_like(model.hidden)
    sequences = run.splits[split]
    with drawing(model, seed, "filters") as device:
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            total += (hidden_probabilities(model, batch) * batch.mask[..., None]).sum((0, 1))
        activity = (total / sequences.num_frames).cpu().numpy()
    dictionary = Dictionary("h", model.weight.detach().cpu().numpy(), activity)
    caption = (
        "Weights of the hidden units, those with the largest effect on frames first; "
        f"the number is the share of frames of the {split} split in which a unit is on."
    )
    return Section("Filters", [Picture(png_uri(draw_dictionary(dictionary, run.info)), caption)])


def hidden_probabilities(model: RBM | TemporalRBM, batch: Batch) -> Tensor:
    """Probabilities of the hidden units given every frame, and the past if any, (B, T, H)."""
    if isinstance(model, RBM):
        return model.machine.hidden_log_odds(batch.x).sigmoid()
    return model.frames(model.states(batch)[0, :, :-1]).hidden_log_odds(batch.x).sigmoid()


def chains(run: Run, model: RBM, split: str, seed: int) -> Section:
    """States of Gibbs chains that start at rows spread over a split, which may be sorted."""
    sequences = run.splits[split]
    starts = spread_rows(len(sequences), CHAINS)
    with drawing(model, seed, "chains") as device:
        x = sequences.batch(starts).x.to(device)
        shown = [x]
        for before, after in pairwise(SWEEPS):
            for _ in range(after - before):
                x = model.machine.gibbs(x)
            shown.append(x)
    rows = {
        f"chain {number}": torch.stack([x[number - 1, 0] for x in shown]).cpu().numpy()
        for number in range(1, len(starts) + 1)
    }
    caption = (
        f"Gibbs chains that start at rows of the {split} split, after "
        f"{', '.join(map(str, SWEEPS))} sweeps."
    )
    return Section("Chains", [Picture(png_uri(pictures(rows, run.info)), caption)])
