"""Observations on the way from one draw of latents, or of noise, to another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.evaluate.passes import drawing
from pyrodgm.evaluate.prediction.reconstruction import decoded
from pyrodgm.evaluate.prediction.samples import sample
from pyrodgm.guides import Guide
from pyrodgm.models import Generator, Model, StepModel

OPPOSITE = 0.1  # radians by which vectors that are called opposite may differ from a straight angle


def can_interpolate(model: Model, info: DataInfo) -> bool:
    """Whether rows are a function of noise or of continuous latents."""
    if info.max_length > 1 or info.kind in ("count", "categorical"):
        return False
    if isinstance(model, Generator):
        return True
    sites = model.latents.values()
    return (
        isinstance(model, StepModel) and bool(sites) and all(s.kind == "continuous" for s in sites)
    )


def interpolations(
    model: Model,
    guide: Guide,
    info: DataInfo,
    sequences: Sequences,
    *,
    pairs: int,
    steps: int,
    seed: int = 0,
) -> np.ndarray:
    r"""Rows between pairs of draws, (pairs, steps, D), in the units of the data.

    .. math:: v_s = \frac{\sin((1 - s) \omega)}{\sin \omega}\, v_0
        + \frac{\sin(s \omega)}{\sin \omega}\, v_1, \qquad s \in [0, 1]

    with v the noise of a generator, or the latents, drawn from their prior, of a model whose means
    are shown, and :math:`\omega` the angle between the ends. On this path the length of a normal
    vector stays typical. All rows of a path have the conditions of one row of the data.

    Args:
        model: for which `can_interpolate` holds.
        guide: the guide q.
        info: facts of the data that the model was fitted on.
        sequences: the source of conditions, if the model has some.
        pairs: number of paths.
        steps: rows of each, with its ends.
        seed: of the draws; the global generator is left alone.

    Reference: White, Sampling generative networks, 2016.
    """
    rows = np.arange(pairs) % len(sequences)
    given = sequences.select(rows.repeat(2)) if info.num_conditions else sequences
    with drawing(model, seed, "interpolation") as device:
        zeros = torch.zeros(pairs * steps, 1, info.dim, device=device)
        conditions = None
        if info.num_conditions:
            found = sequences.batch(rows).conditions
            assert found is not None
            conditions = found[:, :1].repeat_interleave(steps, 0).to(device)
        batch = Batch.of(zeros, conditions)
        if isinstance(model, Generator):
            ends = model.noise(Batch.of(zeros[: 2 * pairs]))[0, :, 0]
            x = model.values(_between(ends, steps)[None, :, None], batch)["x"][0]
        else:
            drawn = sample(model, guide, info, given, num=2 * pairs, length=1, seed=seed)
            ends = {name: drawn[name][:, 0].to(device) for name in model.latents}
            x = decoded(
                model, batch, {n: _between(z, steps)[None, :, None] for n, z in ends.items()}
            )[0]
        return sequences.uncentred(x[:, 0]).cpu().double().numpy().reshape(pairs, steps, info.dim)


def _between(ends: Tensor, steps: int) -> Tensor:
    """Points on arcs between vectors 0 and 1, 2 and 3, and so on, (2P, J) to (P steps, J).

    Between nearly opposite vectors, which any arc may connect, they are on a straight line.
    """
    first, last = ends[::2, None], ends[1::2, None]
    share = torch.linspace(0, 1, steps, device=ends.device, dtype=ends.dtype)[:, None]
    cosine = torch.cosine_similarity(first, last, -1)[..., None].clamp(-1, 1)
    angle = cosine.acos().clamp(min=1e-3)  # nearly a straight line where it is small
    opposite = angle > torch.pi - OPPOSITE
    before, after = (
        torch.where(opposite, part, (part * angle).sin() / angle.sin())
        for part in (1 - share, share)
    )
    return (before * first + after * last).flatten(0, 1)
