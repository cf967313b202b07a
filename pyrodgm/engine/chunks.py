"""The end of a chunk of sequences, from which the next chunk starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.carried import Before, Ends
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.rollout import Rollout
from pyrodgm.engine.sequence_program import SequenceProgram, seen_values
from pyrodgm.lags import Lags, tail


@torch.no_grad()
def end_of(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    values: Mapping[str, Tensor] | None = None,
) -> Before:
    r"""What lies before the frame that follows a batch, on one draw of its latents from the guide.

    .. math:: \tilde z \sim q(z \mid x), \qquad s = s(\tilde z, x)

    where s are all deterministic states after the last frame, and the last n values of every site.
    No gradient flows through any of them.

    Args:
        model: a sequence model.
        guide: a sequence guide over its latents.
        batch: B sequences of T frames.
        values: of every latent site, (B, T, D), in the place of a draw.
    """
    ends = Ends()
    recorded = replace(batch, ends=ends, lags=Lags(batch.before))
    proposal = Rollout.over(guide, recorded, values or {})
    if values is None:
        proposal.draw()
    known = {name: proposal.values[name] for name in guide.latents}
    target = extended(model, guide)
    joint = Rollout.over(target, recorded, known | dict.fromkeys(target.observed, batch.x))
    rollouts = [each for each in (proposal, joint) if each.program.states]
    states = {name: path for each in rollouts for name, path in each.states().items()}

    def last(path: Tensor) -> Tensor:
        return path[..., -1, :].expand(batch.size, -1).clone()  # some are the same for all

    history = max(model.history, guide.history, 1)
    paths = known | dict.fromkeys(model.observed, batch.x) | seen_values(model, batch)
    windows = {
        name: tail(path, history, batch.before.windows.get(name)) for name, path in paths.items()
    }
    return Before(
        batch.before.frames + batch.length,
        {**ends.windows, **windows},
        ends.states | {name: last(path) for name, path in states.items()},
    )


def pieces(lengths_max: int, longest: int) -> list[tuple[int, int]]:
    """Consecutive pieces of T frames as first frame and the one after the last.

    They are as few as can be, and of equal length but for the last ones.

    Args:
        lengths_max: frames T.
        longest: frames of a piece at most, N.

    >>> pieces(10, 4), pieces(3, 4)
    ([(0, 4), (4, 8), (8, 10)], [(0, 3)])
    """
    each = -(-lengths_max // -(-lengths_max // longest))
    return [(a, min(a + each, lengths_max)) for a in range(0, lengths_max, each)]
