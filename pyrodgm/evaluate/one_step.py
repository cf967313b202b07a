"""What does the model expect next, having seen a sequence up to a frame?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.evaluate.posterior import draws_at_once
from pyrodgm.guides import Guide
from pyrodgm.models import SequenceModel
from pyrodgm.past import lagged
from pyrodgm.seeds import forked
from pyrodgm.traces import log_probs


def one_step(
    model: SequenceModel, guide: Guide, x: Tensor, *, draws: int = 20, seed: int = 0
) -> Tensor:
    r"""What the model expects in every frame of one sequence, having seen the frames before it.

    .. math:: \frac1K \sum_k \mathbb{E}[x_t \mid z^k_{\le t}, x_{<t}], \quad
        z^k_{<t} \sim q(z_{<t} \mid x_{<t}), \; z^k_t \sim p(z_t \mid z^k_{<t}, x_{<t})

    The guide runs anew on every prefix of the sequence, so that one which looks ahead in training
    cannot do so here; the cost is quadratic in T.

    Args:
        model: a sequence model.
        guide: the guide q.
        x: one sequence, (T, D).
        draws: K.
        seed: of the draws; the global generator is left alone.

    Returns:
        (T, D).
    """
    like = next(model.parameters())
    prefixes = _prefixes(x.to(like))
    expected = torch.zeros_like(x, dtype=torch.float32)
    with torch.no_grad(), forked(seed, "one step"):
        for part in draws_at_once(draws, prefixes.mask.numel()):
            size = part.stop - part.start
            paths = log_probs(model, guide, prefixes, size).values
            means = _next_frames(model, x.to(like), paths, size)
            expected += means.float().sum(0).to(expected.device) / draws
    return expected


def _prefixes(x: Tensor) -> Batch:
    """The frames before each frame as T sequences; before the first, where no past is, itself."""
    length = len(x)
    frames = torch.arange(length, device=x.device)
    mask = frames < frames.clamp(min=1)[:, None]
    return Batch(x.expand(length, *x.shape) * mask[..., None], mask, frames)


def _next_frames(
    model: SequenceModel, x: Tensor, paths: Mapping[str, Tensor], draws: int
) -> Tensor:
    """Mean of frame t given path t of the latents before it, (K, T, D); paths (K, T, T, J)."""
    past = {
        name: lagged(path, model.history).diagonal(dim1=1, dim2=2).transpose(1, 2)
        for name, path in paths.items()
    }
    past |= dict.fromkeys(model.observed, lagged(x, model.history))
    shape = torch.Size([draws, len(x)])
    means: dict[str, Tensor] = {}

    def draw(name: str, distribution: TorchDistribution) -> Tensor:
        if name not in model.observed:
            return distribution.expand(shape).sample()
        means[name] = distribution.mean.expand(*shape, -1)
        return means[name]

    encoded = model.encode(Batch.of(x[None]))
    frames = torch.arange(len(x), device=x.device)
    model.step(draw, past, None if encoded is None else encoded[0], frames)
    return means["x"]
