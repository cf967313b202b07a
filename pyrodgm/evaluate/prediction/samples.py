"""Samples from a model: whole sequences, or continuations of a prefix."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.batch import Batch
from pyrodgm.data.ahead import conditions_to_draw
from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.engine.programs import generate
from pyrodgm.errors import ChainWarning, UsageError
from pyrodgm.evaluate.likelihood.annealing import annealed_draws
from pyrodgm.evaluate.likelihood.field import LEAST_ACCEPTED
from pyrodgm.evaluate.likelihood.importance import checked
from pyrodgm.evaluate.prediction.continuation import continued
from pyrodgm.evaluate.prediction.frame_chains import drawn_sequences
from pyrodgm.guides import Guide
from pyrodgm.models import EnergyModel, FrameEnergyModel, Generator, Model, StepModel
from pyrodgm.seeds import forked

PROPOSALS = 50  # draws of the noise for each sequence of a field

Sampler = Callable[[Batch], Tensor]  # draws in the shape of a batch, (B, T, D)


def sample(
    model: Model,
    guide: Guide,
    info: DataInfo,
    sequences: Sequences | None,
    *,
    num: int,
    length: int | None = None,
    prefix: int = 0,
    conditions: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Ancestral draws from a model, every site (num, length, D).

    Energy models are sampled by Markov chains: frames along an annealing path, one after the other
    if each depends on those before it, and whole sequences from draws of their noise.

    Grey observations in [0,1] are means given the latents, not black or white.

    Args:
        model: the model p.
        guide: the guide q, which draws the latents of a prefix.
        info: facts of the data that the model was fitted on.
        sequences: the source of prefixes, and of conditions that are not given.
        num: number of sequences to draw.
        length: frames of each; by default the mean training length, or that of the conditions.
        prefix: frames taken from the sequences, used in turn; the following frames are drawn given
            them, and only the observations are returned.
        conditions: of the frames, (num, length, U), or (length, U) for the same in all sequences.
            If not given, or with a prefix, those of the sequences that are long enough, in turn.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: nothing to draw, the model cannot draw observations or not after a prefix, or
            conditions are given together with a prefix or for too few frames.
        DataError: the model takes other conditions.
    """
    if isinstance(model, EnergyModel) and not _over_time(model):
        x = _of_energy(model, num, 1 if length is None else length, prefix, seed)
        return {"x": _uncentred(x, info)}
    if not isinstance(model, StepModel | Generator | EnergyModel):
        raise UsageError(
            f"{type(model).__name__} cannot draw observations: it is not a StepModel, Generator or "
            "EnergyModel of pyrodgm.models"
        )
    frames = _usual_length(info, sequences, conditions) if length is None else length
    check_whole(num=num, length=frames)
    if prefix:
        _refuse_prefix(model, conditions)
    if prefix and sequences is not None:
        given = {"num": num, "prefix": prefix, "length": frames, "seed": seed}
        means = info.kind == "unit"
        return dict.fromkeys(
            model.observed, continued(model, guide, sequences, means=means, **given)
        )
    known = conditions_to_draw(info.num_conditions, sequences, num, frames, conditions)
    with forked(seed, "sample"):
        if isinstance(model, FrameEnergyModel):
            sites = {"x": drawn_sequences(model, num, frames)}
        elif isinstance(model, EnergyModel):
            sites = {"x": _of_field(model, guide, num, frames, known)}
        else:
            sites = _ancestral(model, num, frames, info, known)
    return {n: _uncentred(x, info) if n in model.observed else x for n, x in sites.items()}


def _over_time(model: EnergyModel) -> bool:
    """Whether the frames of a sequence depend on each other."""
    return model.of_sequences or isinstance(model, FrameEnergyModel)


def sampled(
    sampler: Sampler,
    model: Model,
    info: DataInfo,
    sequences: Sequences | None,
    *,
    num: int,
    length: int | None = None,
    conditions: np.ndarray | None = None,
    seed: int = 0,
) -> Tensor:
    """Draws of a sampler, (num, length, D), in the units of the data.

    Args:
        sampler: gives draws in the shape of a batch.
        model: whose draws they are.
        info: facts of the data that it was fitted on.
        sequences: the source of conditions that are not given.
        num: number of sequences.
        length: frames of each; as of `sample`.
        conditions: of the frames; as of `sample`.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: nothing to draw.
    """
    frames = _usual_length(info, sequences, conditions) if length is None else length
    check_whole(num=num, length=frames)
    known = conditions_to_draw(info.num_conditions, sequences, num, frames, conditions)
    like = next(model.parameters())
    with torch.no_grad(), forked(seed, "sample"):
        known = None if known is None else known.to(like.device)
        x = sampler(Batch.of(like.new_zeros(num, frames, info.dim), known))
    return _uncentred(x, info)


def _refuse_prefix(model: Model, conditions: np.ndarray | None) -> None:
    """Raise if a model cannot continue a prefix, or not under these conditions."""
    whole = isinstance(model, EnergyModel) and not isinstance(model, FrameEnergyModel)
    if whole or isinstance(model, Generator):
        raise UsageError(
            f"{type(model).__name__} draws whole sequences from noise and cannot continue a "
            "prefix; leave the prefix out"
        )
    if conditions is not None:
        raise UsageError(
            "with a prefix, conditions are those of its sequence; use run.forecast for others"
        )


def _ancestral(
    model: StepModel | Generator,
    num: int,
    frames: int,
    info: DataInfo,
    known: Tensor | None,
) -> dict[str, Tensor]:
    """Draws of every site, (num, frames, D), given conditions (num, frames, U) or None."""
    like = next(model.parameters())
    known = None if known is None else known.to(like.device)
    if isinstance(model, StepModel):
        means = info.kind == "unit"
        return generate(model, num, frames, like, means=means, conditions=known)
    with torch.no_grad():
        batch = Batch.of(like.new_zeros(num, frames, info.dim), known)
        return {name: v[0] for name, v in model.values(model.noise(batch), batch).items()}


def _of_energy(model: EnergyModel, num: int, length: int, prefix: int, seed: int) -> Tensor:
    """Independent frames of an energy model, each by its own Markov chain, (num, length, D).

    Raises:
        UsageError: nothing to draw, or a prefix, although frames are independent.
        CompatibilityError: the model has no annealing path.
    """
    check_whole(num=num, length=length)
    if prefix:
        raise UsageError(
            f"frames of {type(model).__name__} are independent: draw them without a prefix"
        )
    with torch.no_grad(), forked(seed, "sample"):
        x = annealed_draws(model.annealing(), num * length, sweeps=model.sweeps)
        return x.unflatten(0, (num, length))


def _of_field(
    model: EnergyModel, guide: Guide, num: int, frames: int, conditions: Tensor | None
) -> Tensor:
    """Sequences of a field, each at the end of a chain of proposals from its noise, (num, T, D).

    A Metropolis independence sampler starts at a draw of the noise and takes 50 more as proposals.
    There is a `ChainWarning` if it hardly accepts any.

    Raises:
        UsageError: the guide has no density of observations.
    """
    field, noise = checked(model, guide)
    like = next(field.parameters())
    given = None if conditions is None else conditions.to(like.device)
    batch = Batch.of(like.new_zeros(num, frames, field.info.dim), given)

    def proposal() -> tuple[Tensor, Tensor]:
        x = noise.draw(batch)
        return x, field.log_ratio(x, batch, noise).double().sum(-1)

    with torch.no_grad():
        (x, log_w), accepted = proposal(), 0.0
        for _ in range(PROPOSALS):
            new, new_w = proposal()
            probability = (new_w - log_w).clamp(max=0).exp()
            accept = torch.rand_like(probability) < probability
            x, log_w = new.where(accept[:, None, None], x), new_w.where(accept, log_w)
            accepted += float(probability.mean()) / PROPOSALS
    if accepted < LEAST_ACCEPTED:
        warnings.warn(
            f"the chains accept {accepted:.2%} of the draws of {type(guide).__name__}, so that "
            "these sequences are hardly those of the field; a noise closer to it, such as that of "
            "dnce, helps",
            ChainWarning,
            stacklevel=2,
        )
    return x


def _uncentred(x: Tensor, info: DataInfo) -> Tensor:
    """Frames in the scale of the data, from centred frames drawn by a model."""
    if not info.centre:
        return x
    return x.double() + torch.tensor(info.centre, dtype=torch.float64, device=x.device)


def _usual_length(
    info: DataInfo, sequences: Sequences | None, conditions: np.ndarray | None
) -> int:
    """Number of frames with given conditions, or the mean training length, if known."""
    if conditions is not None and np.ndim(conditions) > 1:
        return int(np.shape(conditions)[-2])
    length = round(info.mean_length)
    if sequences is None or sequences.conditions is None:
        return length
    return min(length, int(sequences.lengths.max()))
