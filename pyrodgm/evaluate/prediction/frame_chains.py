"""Prediction and sampling of models whose frames are drawn by Markov chains, given the past."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.info import Kind
from pyrodgm.engine.expectation import expected
from pyrodgm.evaluate.likelihood.annealing import annealed_draws
from pyrodgm.evaluate.passes import Progress, drawing, silent
from pyrodgm.evaluate.prediction.errors import Prediction, sequence_errors
from pyrodgm.models.energies import FrameEnergies
from pyrodgm.models.frame_energy import FrameEnergyModel

SWEEPS = 100  # of the chain of every frame; the first half is annealed
NUMBERS_AT_ONCE = 2**20  # draws x frames x features together: bounds memory


def drawn(frames: FrameEnergies) -> tuple[TorchDistribution, Tensor]:
    """A draw of every frame by a chain of its own, (..., D), and the distribution it is from."""
    distribution = frames.emission(annealed_draws(frames.annealing(), 1, sweeps=SWEEPS)[0])
    return distribution, distribution.sample()


def frames_ahead(
    model: FrameEnergyModel, seen: Batch, samples: int
) -> Iterator[tuple[TorchDistribution, Tensor]]:
    """Frames after the end of a batch, drawn one after the other, without end.

    Args:
        model: a model of frames given those before.
        seen: B sequences, each continued from its own end.
        samples: continuations, S.

    Yields:
        The distribution of the frame, of batch shape (S, B), and the frame, (S, B, D).
    """
    states = model.states(seen, samples)
    last = seen.lengths[None, :, None, None].expand(samples, -1, 1, states.shape[-1])
    state = states.gather(2, last)[:, :, 0]
    while True:
        distribution, x = drawn(model.frames(state))
        state = model.advance(state, x)
        yield distribution, x


@torch.no_grad()
def drawn_sequences(model: FrameEnergyModel, num: int, length: int) -> Tensor:
    """Sequences drawn from the model, (num, length, D)."""
    like = next(model.parameters())
    nothing = Batch.of(like.new_zeros(num, 0, model.observed["x"]))
    frames = zip(range(length), frames_ahead(model, nothing, 1), strict=False)
    return torch.stack([x[0] for _, (_, x) in frames], 1)


def expected_given_past(
    model: FrameEnergyModel, batch: Batch, samples: int, *, progress: Progress = silent
) -> Tensor:
    r"""Expectation of every frame given those before it, (B, T, D), zero in padding.

    .. math:: \frac1K \sum_k \mathrm{E}[x_t \mid h^k_t], \qquad
        h^k_t \sim p(h_t \mid s^k_{t-1})

    Every frame has K chains, all frames at once, because the past is that of the data.

    Args:
        model: a model of frames given those before.
        batch: B sequences.
        samples: chains K of every frame.
        progress: called with the share done, in [0, 1].
    """
    states = model.states(batch, samples if model.filtered else 1)[:, :, :-1][:, batch.mask]
    states = states.expand(samples, -1, -1)
    size = max(1, NUMBERS_AT_ONCE // (samples * model.frame_size))
    found = []
    for part in states.split(size, 1):
        distribution, _ = drawn(model.frames(part))
        found.append(expected(distribution, part.shape[:2]).mean(0))
        progress(len(found) * size / states.shape[1])
    means = torch.zeros_like(batch.x)
    means[batch.mask] = torch.cat(found)
    return means


def predict_frames(
    model: FrameEnergyModel,
    sequences: Sequences,
    *,
    kind: Kind,
    samples: int,
    seed: int = 0,
    progress: Progress = silent,
) -> Prediction:
    """One-step-ahead prediction of every frame of every sequence, without likelihoods.

    Args:
        model: a model of frames given those before.
        sequences: the split.
        kind: of its values.
        samples: chains of every frame.
        seed: of the draws; the global generator is left alone.
        progress: called with the share done, in [0, 1].

    Raises:
        UsageError: no samples.
        DataError: no sequence has a second frame.
    """
    check_whole(samples=samples)
    done = 0

    def expect(batch: Batch) -> Tensor:
        nonlocal done
        before, done = done, done + batch.num_frames
        share = batch.num_frames / sequences.num_frames
        return expected_given_past(
            model,
            batch.to(device),
            samples,
            progress=lambda part: progress(before / sequences.num_frames + min(part, 1.0) * share),
        ).cpu()

    with drawing(model, seed, "predict", "filtered") as device:
        errors = sequence_errors(sequences, expect, kind, samples)
    summed, standardised, right = errors
    return Prediction("filtered", samples, summed, standardised, None, sequences.num_frames, right)
