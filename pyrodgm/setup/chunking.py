"""Before training: how long chunks are, and whether a model and a guide continue in them."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Splits
from pyrodgm.engine.chunks import end_of, pieces
from pyrodgm.engine.draws import draw, score
from pyrodgm.errors import ChunkWarning, CompatibilityError
from pyrodgm.guides import StepGuide
from pyrodgm.models import FrameEnergyModel, StepModel
from pyrodgm.models.frame_energy import STATE
from pyrodgm.objectives import Objective
from pyrodgm.objectives.state import RowCache
from pyrodgm.seeds import forked
from pyrodgm.setup.options import FitOptions

SEQUENCES, FRAMES, EACH = 2, 6, 2
SHORTEST, LONGEST, SHARE = 16, 32, 0.25  # of chunks that lose nothing; docs/learning.md


def with_chunk(options: FitOptions, objective: Objective, splits: Splits) -> FitOptions:
    """The options with a number of frames, or "whole", in the place of ``chunk="auto"``.

    It is a quarter of the mean length of the sequences, but from 16 to 32 frames, where chunks lose
    no gradient: in a single process, for an objective that learns every frame given its past alone,
    a model and a guide without deterministic states, and a guide that sees no later frames.
    """
    if options.chunk != "auto":
        return options
    lengths = splits.training.lengths
    longest = int(min(max(SHARE * lengths.mean(), SHORTEST), LONGEST))
    rows = np.flatnonzero(lengths > longest)
    alone = options.devices * options.num_nodes == 1
    loses_nothing = len(rows) > 0 and alone and _loses_nothing(objective, splits, rows[:SEQUENCES])
    return replace(options, chunk=longest if loses_nothing else "whole")


def _loses_nothing(objective: Objective, splits: Splits, rows: np.ndarray) -> bool:
    if not objective.by_frame:
        return False
    tried = copy.deepcopy(objective).eval()
    model, guide = tried.model, tried.guide
    if not (isinstance(model, StepModel) and isinstance(guide, StepGuide)):
        return False
    batch = _beginnings(tried, splits, rows)
    try:
        with forked(0, "chunks"), torch.no_grad():
            return not end_of(model, guide, batch).states and all(_agree(model, guide, batch))
    except (RuntimeError, TypeError):  # of programs that start nowhere but at the first frame
        return False


def check_chunks(objective: Objective, splits: Splits, longest: int) -> None:
    """Raise unless training in chunks has the log-probabilities of whole sequences.

    They are compared on the first frames of two sequences, at the same latents. The guide may see
    less of a sequence in a chunk, which is said in a warning: it is then another valid guide.

    Args:
        objective: built from a model and a guide.
        splits: the data.
        longest: frames of a chunk at most.

    Raises:
        CompatibilityError: the model does not continue from one chunk to the next, or the objective
            needs whole sequences.
    """
    rows = np.flatnonzero(splits.training.lengths > longest)[:SEQUENCES]
    if not len(rows):
        return
    tried = copy.deepcopy(objective).eval()
    _check_objective(tried)
    model, guide = tried.model, tried.guide
    if isinstance(model, FrameEnergyModel):
        _check_states(model, _beginnings(tried, splits, rows))
        return
    if not (isinstance(model, StepModel) and isinstance(guide, StepGuide)):
        raise CompatibilityError(
            f"fit.chunk is {longest}, but {type(model).__name__} with {type(guide).__name__} does "
            "not run frame by frame and has no states to carry; leave fit.chunk out"
        )
    batch = _beginnings(tried, splits, rows)
    reason = "its log-probabilities are others than those of whole sequences"
    try:
        with forked(0, "chunks"), torch.no_grad():
            model_agrees, guide_agrees = _agree(model, guide, batch)
    except (RuntimeError, TypeError) as error:  # of cells that start nowhere but at zero
        model_agrees, guide_agrees, reason = False, True, str(error)
    if not model_agrees:
        raise CompatibilityError(
            f"fit.chunk is {longest}, but {type(model).__name__} with {type(guide).__name__} does "
            f"not continue from one chunk to the next: {reason}. A model must reach earlier frames "
            "only by past[...] and by past.carry(...) with cells that take a start; leave "
            "fit.chunk out"
        )
    if not guide_agrees:
        warnings.warn(
            f"fit.chunk is {longest}: {type(guide).__name__} sees only the frames of a chunk when "
            "it is trained, where it sees more of a whole sequence. The bound of every chunk "
            "remains a bound; whole sequences are validated",
            ChunkWarning,
            stacklevel=2,
        )


def _check_states(model: FrameEnergyModel, batch: Batch) -> None:
    """Raise unless a model of frames given the past goes on from the state of the frames before.

    Raises:
        CompatibilityError: it starts again at every chunk.
    """
    with forked(0, "chunks"), torch.no_grad():
        head, tail = batch.chunk(0, EACH), batch.chunk(EACH, batch.length)
        goes_on = batch.lengths > EACH
        before = model.end(head).rows(goes_on.nonzero()[:, 0])
        found = model.states(replace(tail, before=before))[0]
        whole = model.states(batch)[0, goes_on, EACH:]
        # States that are drawn agree in the first frame alone.
        expected = before.states[STATE][:, None] if model.filtered else whole
    if not _close(found[:, : expected.shape[1]], expected):
        raise CompatibilityError(
            f"{type(model).__name__} does not continue from one chunk to the next: its "
            "states(batch) must start from carried(batch), where there is one; leave fit.chunk out"
        )


def _beginnings(objective: Objective, splits: Splits, rows: np.ndarray) -> Batch:
    """The first frames of some sequences."""
    batch = splits.training.select(rows).first(FRAMES).batch(np.arange(len(rows)))
    return batch.to(next(objective.parameters(), batch.x).device)


def _check_objective(objective: Objective) -> None:
    reason = ""
    if any(phase.fresh for phase in objective.built_phases):
        reason = "its phases train on different batches"
    if any(isinstance(part, RowCache) and not part.in_chunks for part in objective.modules()):
        reason = "it stores values of whole sequences"
    if reason:
        raise CompatibilityError(
            f"{type(objective).__name__} cannot learn from chunks of sequences, because {reason}; "
            "leave fit.chunk out, or choose another objective"
        )


def _agree(model: StepModel, guide: StepGuide, batch: Batch) -> tuple[bool, bool]:
    """Whether model and guide have the log-probabilities of whole sequences in chunks."""
    values = dict(draw(guide, batch).values)
    whole = [score(program, batch, values) for program in (model, guide)]
    agree = [True, True]
    rows, before = torch.arange(batch.size), batch.before
    for first, last in pieces(batch.length, EACH):
        kept = (batch.lengths[rows] > first).nonzero()[:, 0].to(rows.device)
        rows = rows[kept]
        chunk = replace(batch.chunk(first, last), before=before.rows(kept))
        part = {name: path[:, rows, first:last] for name, path in values.items()}
        for place, program in enumerate((model, guide)):
            for name, nats in score(program, chunk, part).items():
                agree[place] &= _close(nats, whole[place][name][..., rows, first:last])
        before = end_of(model, guide, chunk, {name: path[0] for name, path in part.items()})
    return agree[0], agree[1]


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-5, atol=1e-4)
