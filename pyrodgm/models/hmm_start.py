"""Initialisation of a hidden Markov model from clusters of the training frames.

The likelihood of a hidden Markov model has many local maxima. From random initial values, training
often ends with two states on one cluster of the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.networks.inputs import Inputs
from pyrodgm.seeds import forked, numpy_generator

if TYPE_CHECKING:
    from pyrodgm.models.hmm import HMM

WIDTHS = (1, 8)  # frames averaged before clustering; large widths find persistent states
RUNS = 5  # of k-means, which has local minima too
PIECE_LENGTH, PIECES = 100, 40  # pieces on which the likelihood of candidates is compared
EMISSION_STEPS, LIKELIHOOD_STEPS, LR = 100, 20, 0.1


def start_from_data(model: HMM, splits: Splits, seed: int) -> None:
    r"""Give a model the best of several initialisations, in place.

    The candidates are its random initial values and, for each width w, clusters by k-means of
    averages over w frames. Every feature is divided by its usual change from one frame to the next,
    so that persistent differences are large and noise is small. Clusters determine the emission of
    every state (the maximum of :math:`\sum_t \log p(x_t \mid c_t)`), the transitions and the first
    state (smoothed relative frequencies). All candidates are then trained for a few steps, and the
    one with the highest likelihood is kept.

    Args:
        model: the model; its parameters are replaced.
        splits: the data; up to 40 pieces of 100 frames of its training sequences are used.
        seed: of everything random.
    """
    device = next(model.parameters()).device
    batch = _pieces(splits.training, seed).to(device)
    with forked(seed, "start of states"):
        features = _by_changes(Inputs(splits.info).to(device)(batch.x), batch.mask)
        scores = []
        for candidate in _candidates(model, batch, features, seed):
            nats = _improve(candidate, batch)
            scores.append((nats, candidate.state_dict()))
    best = max(scores, key=lambda scored: scored[0])
    model.load_state_dict(best[1])


def _pieces(sequences: Sequences, seed: int) -> Batch:
    """Pieces of the training sequences as a batch, chosen at random if there are many."""
    pieces = [
        (start + offset, min(PIECE_LENGTH, int(length) - offset))
        for start, length in zip(sequences.starts, sequences.lengths, strict=True)
        for offset in range(0, int(length), PIECE_LENGTH)
    ]
    generator = numpy_generator(seed, "pieces of sequences")
    taken = [pieces[i] for i in generator.permutation(len(pieces))[:PIECES]]
    frames = np.concatenate([np.arange(start, start + length) for start, length in taken])
    lengths = np.array([length for _, length in taken])
    given = None if sequences.conditions is None else sequences.conditions.numpy()[frames]
    part = Sequences(sequences.x.numpy()[frames], lengths, conditions=given)
    part = part.placed(sequences.fill, sequences.centre)
    return part.batch(range(len(part)))


def _candidates(model: HMM, batch: Batch, features: Tensor, seed: int) -> Iterator[HMM]:
    """Models with different starting values."""
    yield deepcopy(model)
    for width in WIDTHS:
        points = _averaged(features, batch.mask, width)[batch.mask].double().cpu().numpy()
        if len(np.unique(points, axis=0)) < model.cell.state_dim:
            continue
        states = torch.zeros_like(batch.mask, dtype=torch.int64)
        labels = _clusters(points, model.cell.state_dim, seed)
        states[batch.mask] = torch.from_numpy(labels).to(states)
        candidate = deepcopy(model)
        _take(candidate, batch, states)
        yield candidate


def _by_changes(features: Tensor, mask: Tensor) -> Tensor:
    """Features divided by the root mean square of their changes between frames, (B, T, F)."""
    changes = (features[:, 1:] - features[:, :-1])[mask[:, 1:]]
    scale = changes.square().mean(0).sqrt() if len(changes) else features.new_ones(())
    return features / torch.where(scale > 0, scale, 1.0)


def _clusters(points: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The cluster of every point (M, F) by the best of several runs of k-means, (M,)."""
    from scipy.cluster.vq import kmeans2  # slow to import

    generator = numpy_generator(seed, "clusters")
    best, least = np.zeros(len(points), np.int64), math.inf
    for _ in range(RUNS):
        with warnings.catch_warnings():
            # An empty cluster is a state without frames; training can still use it.
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            centres, labels = kmeans2(points, number, minit="++", rng=generator)
        distortion = float(((points - centres[labels]) ** 2).sum())
        if distortion < least:
            best, least = labels, distortion
    return best


def _averaged(features: Tensor, mask: Tensor, width: int) -> Tensor:
    """Averages over `width` frames around each, within its sequence, (B, T, F)."""
    kept = features * mask[..., None]
    total = torch.cat([kept.new_zeros(kept[:, :1].shape), kept.cumsum(1)], 1)
    count = torch.cat([mask.new_zeros(mask[:, :1].shape, dtype=torch.int64), mask.cumsum(1)], 1)
    now = torch.arange(mask.shape[1], device=mask.device)
    first = (now - (width - 1) // 2).clamp(min=0)
    last = (now + width // 2 + 1).clamp(max=mask.shape[1])
    number = (count[:, last] - count[:, first]).clamp(min=1)
    return (total[:, last] - total[:, first]) / number[..., None]


def _take(model: HMM, batch: Batch, states: Tensor) -> None:
    """Set the parameters of a model to fit given states, (B, T)."""
    optimizer = torch.optim.Adam([model.by_state], LR)
    for _ in range(EMISSION_STEPS):
        evidence = model.evidence(batch).gather(-1, states[..., None])
        optimizer.zero_grad()
        (-evidence[batch.mask].mean()).backward()
        optimizer.step()
    num_states, both = model.cell.state_dim, batch.mask[:, 1:]
    moves = states[:, :-1][both] * num_states + states[:, 1:][both]
    counts = 1.0 + torch.bincount(moves, minlength=num_states**2).view(num_states, num_states)
    first = 1.0 + torch.bincount(states[:, 0], minlength=num_states)
    with torch.no_grad():
        model.cell.transition.copy_((counts / counts.sum(-1, keepdim=True)).log())
        model.cell.initial.copy_((first / first.sum()).log())


def _improve(model: HMM, batch: Batch) -> float:
    """The log-likelihood after a few steps of training, in nats."""
    optimizer = torch.optim.Adam(model.parameters(), LR)
    for _ in range(LIKELIHOOD_STEPS):
        optimizer.zero_grad()
        (-model.log_likelihood(batch) / batch.num_frames).backward()
        optimizer.step()
    with torch.no_grad():
        return float(model.log_likelihood(batch))
