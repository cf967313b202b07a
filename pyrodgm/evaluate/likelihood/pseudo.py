"""The pseudo-likelihood of energy models of bits and symbols."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.evaluate.likelihood.normaliser import check_scorable
from pyrodgm.evaluate.passes import chunks, drawing
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.frame_energy import FrameEnergyModel
from pyrodgm.networks.codes import Codes

FEATURES = 16  # number of features per frame used by the pseudo-likelihood


def pseudo_likelihood(model: EnergyModel, sequences: Sequences, *, seed: int = 0) -> float:
    r"""Mean log-probability of every feature given the others of its frame, in nats per frame.

    .. math:: \sum_d \log p(x_d \mid x_{-d})
        = \sum_d \Big(\phi(x) - \log \sum_{s} e^{\phi(x^{d=s})}\Big)

    where :math:`x^{d=s}` is x with the bit or symbol s as its feature d. Frames given those before
    them are conditioned on the data's. No normaliser is needed. For frames with more than 16
    features, the sum is estimated from 16 features drawn at random, the same ones for the same
    seed. Of a field over whole sequences, d runs over the features of all frames, one at a time,
    and the sum of a sequence is estimated from 16 of them.

    Args:
        model: a model of bits or symbols.
        sequences: the split.
        seed: of the choice of features; the global generator is left alone.

    Raises:
        DataError: frames that an energy model cannot score.

    Reference: Besag, Statistical analysis of non-lattice data, 1975.
    """
    check_scorable(model, sequences)
    nats = 0.0
    with drawing(model, seed, "pseudo-likelihood") as device:
        for rows, _ in chunks(sequences.lengths, 1, width=model.frame_size):
            batch = sequences.batch(rows).to(device)
            of = _of_frames if _is_of_frames(model) else _of_sequences
            nats += float(of(model, batch).masked_fill(~batch.mask, 0.0).double().sum())
    return nats / sequences.num_frames


def _is_of_frames(model: EnergyModel) -> bool:
    """Whether the potential of a frame does not depend on the other frames that are changed."""
    return isinstance(model, FrameEnergyModel) or not model.traits.sequential


def _of_frames(model: EnergyModel, batch: Batch) -> Tensor:
    """The sums of frames, whose potentials do not depend on each other, (B, T)."""
    looked = torch.rand(batch.x.shape).argsort(-1)[..., :FEATURES].to(batch.x.device)
    energies = model.given(batch)
    own, total = energies.potential(batch.x), torch.zeros_like(batch.x[..., 0])
    for feature in looked.split(1, -1):
        others = [
            energies.potential(x).masked_fill(same, -math.inf)
            for x, same in _alternatives(model.codes, batch.x, feature)
        ]
        total += own - torch.stack([own, *others]).logsumexp(0)
    return total * batch.x.shape[-1] / looked.shape[-1]


def _of_sequences(model: EnergyModel, batch: Batch) -> Tensor:
    """The sums of whole sequences, in equal parts by frame, (B, T)."""
    dim, energies = batch.x.shape[-1], model.given(batch)

    def potential(x: Tensor) -> Tensor:
        return energies.potential(x).masked_fill(~batch.mask, 0.0).sum(-1)

    own, total = potential(batch.x), torch.zeros_like(batch.x[:, 0, 0])
    shown = batch.mask.expand(dim, -1, -1).movedim(0, -1).flatten(1)  # every feature of data
    looked = torch.rand(shown.shape).to(batch.x).masked_fill(~shown, 2.0).argsort(-1)
    for place in looked[:, :FEATURES].split(1, -1):
        frame, feature = place.div(dim, rounding_mode="floor"), place % dim
        changed = nn.functional.one_hot(frame, batch.length).movedim(-1, 1) > 0
        others = [
            potential(x.where(changed, batch.x)).masked_fill(same.gather(1, frame)[:, 0], -math.inf)
            for x, same in _alternatives(
                model.codes, batch.x, feature[:, None].expand(-1, batch.length, -1)
            )
        ]
        known = shown.gather(1, place)[:, 0]
        total += (own - torch.stack([own, *others]).logsumexp(0)).where(known, 0.0)
    count = batch.lengths * dim
    return (total * dim / count.clamp(max=FEATURES))[:, None].expand_as(batch.mask)


def _alternatives(codes: Codes, x: Tensor, feature: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames with another value of one feature, and where there is no other value, (B, T).

    Args:
        codes: of the model.
        x: frames, (B, T, D).
        feature: of each frame, (B, T, 1).
    """
    own = x.gather(-1, feature)
    if codes.symbols is None:
        yield x.scatter(-1, feature, 1 - own), torch.zeros_like(feature[..., 0], dtype=torch.bool)
        return
    values, blank = codes.symbols.table[feature], codes.symbols.blank[feature]
    for value, absent in zip(values.to(x).unbind(-1), blank.unbind(-1), strict=True):
        yield x.scatter(-1, feature, value), (absent | (value == own)).squeeze(-1)
