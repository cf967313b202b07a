"""Does data drawn from the model look like the data? Predictive checks by test statistics."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr

from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.data.info import NO_SYMBOL
from pyrodgm.data.symbols import indicators
from pyrodgm.evaluate.chunks import chunks
from pyrodgm.evaluate.count_predictors import scores_totals
from pyrodgm.evaluate.statistics import (
    activity,
    num_pairs,
    p_value,
    persistence,
    share_off,
    spread,
    symbol_pairs,
    symbols_kept,
)
from pyrodgm.models import SequenceModel
from pyrodgm.networks.inputs import means
from pyrodgm.seeds import forked, numpy_generator
from pyrodgm.sequences import generate

STATISTICS = ("activity", "spread", "persistence", "one-step persistence")
FEATURE_MEANS = "feature means"
TRANSITIONS = "transitions"
SHARES = (FEATURE_MEANS, TRANSITIONS)  # their p-values are shares of many that are off
MANY = 4  # times as many as expected


class Summary:
    """Test statistics of S replicates of N sequences, or of the data, for which S may be 1.

    Args:
        info: facts of the data. Frames of counts enter as shares of their tokens, since a model of
            counts is given how many there are, and have neither activity nor spread. Real numbers
            enter standardised, so that none counts more for its units; constant ones are zero.
        draws: S.
        sequences: the N sequences that are replicated.
        totals: whether a model of counts draws how many there are; they enter as they are then.

    Attributes:
        values: per statistic, replicate and sequence, each (S, N), NaN where it is not defined.
            ``activity``: mean over frames and features. ``spread``: standard deviation over frames
            of a frame's sum, which is the number of ones in binary data. ``persistence``: one
            minus the mean absolute change from one frame to the next, in binary data the share of
            features that stay the same. ``one-step persistence``: the same from the observed frame
            before, for replicates that go on from the data and not from themselves.
        totals: sum of every feature over all frames, (S, D).
        numbers: in how many frames of a sequence every feature is there, (N, D).
        counts: how many frames have 0, 1, ... ones, (S, D + 1); of bits alone.
        pairs: how often each of C symbols follows each of the same feature, (S, C, C); empty of
            other than categorical data, and of more than 64 symbols. Totals and numbers are then
            those of symbols, so that the means of features are frequencies; persistence is the
            share of features that keep their symbol; activity and spread there are none.
    """

    def __init__(
        self, info: DataInfo, draws: int, sequences: Sequences, *, totals: bool = False
    ) -> None:
        self.info = info
        self.as_shares = info.kind == "count" and not totals
        self.sequences = sequences
        self.frames = sequences.num_frames
        size = len(info.frequencies) or info.dim
        self.numbers = np.zeros((len(sequences), size), dtype=np.int64)
        self.values = {name: np.full((draws, len(sequences)), np.nan) for name in STATISTICS}
        self.totals = np.zeros((draws, size))
        self.pairs = np.zeros((draws, *[num_pairs(info.symbols)] * 2))
        self.counts = np.zeros((draws, info.dim + 1), dtype=np.int64)
        self.mean, std = means(info).double().numpy(), np.array(info.std or (1.0,) * info.dim)
        self.precision = np.divide(1, std, out=np.zeros_like(std), where=std > 0)

    def add(
        self,
        x: np.ndarray,
        mask: np.ndarray,
        part: slice,
        rows: np.ndarray,
        *,
        seen: np.ndarray | None = None,
        goes_on: bool = True,
    ) -> None:
        """Take in some replicates of some sequences.

        Args:
            x: the replicates as batches hold them, (K, B, T, D).
            mask: True where a frame counts, (B, T).
            part: which of the S replicates they are.
            rows: which of the N sequences.
            seen: the observed sequences that they go on from, frame by frame, (B, T, D).
            goes_on: whether each frame of a replicate goes on from the one before in it.
        """
        there = self._there(rows, mask)
        kept = symbols_kept if self.info.kind == "categorical" else persistence
        self.numbers[rows] = self._of_features(there).sum(1)
        if seen is not None:
            seen = self._scaled(seen, there)
        for draw, frames in zip(range(part.start, part.stop), x, strict=True):
            frames = self._scaled(frames.astype(np.float32, copy=False), there)
            put = {}
            if self.info.kind != "categorical" and not self.as_shares:
                put = {"activity": activity(frames, there), "spread": spread(frames, there)}
            if goes_on:
                put["persistence"] = kept(frames, frames, there)
            if seen is not None:
                put["one-step persistence"] = kept(seen, frames, there)
            for name, numbers in put.items():
                self.values[name][draw, rows] = numbers
            self._count(draw, frames, frames if seen is None or goes_on else seen, there, mask)

    def _count(
        self, draw: int, frames: np.ndarray, before: np.ndarray, there: np.ndarray, mask: np.ndarray
    ) -> None:
        """Add to totals, ones and pairs of a replicate whose frames go on from those before."""
        if self.info.kind == "categorical":
            before, frames = (self._hot(each, there) for each in (before, frames))
            self.pairs[draw] += symbol_pairs(before, frames, self.info.symbols)
        self.totals[draw] += frames.sum((0, 1), dtype=np.float64)
        if self.info.kind in ("binary", "unit"):
            top = self.counts.shape[1]
            ones = np.rint(frames.sum(-1)[mask]).clip(0, top - 1).astype(np.int64)
            self.counts[draw] += np.bincount(ones, minlength=top)

    def _hot(self, frames: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Which symbols are there, (B, T, S)."""
        return indicators(np.where(there, frames, NO_SYMBOL), self.info.symbols)

    def _of_features(self, there: np.ndarray) -> np.ndarray:
        """Which features count, (B, T, D), for each number whose mean is taken."""
        sizes = [len(own) for own in self.info.symbols]
        return np.repeat(there, sizes, axis=-1) if sizes else there

    def _scaled(self, frames: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Counts as shares of their frame's tokens, real numbers in standard deviations."""
        if self.info.kind == "real":
            frames = ((frames - self.mean) * self.precision).astype(np.float32)
        frames = np.where(there, frames, 0)
        if not self.as_shares:
            return frames
        return frames / frames.sum(-1, keepdims=True).clip(1)

    def _there(self, rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Which features count, (B, T, D): of replicates too only those the data has."""
        if self.sequences.has_missing:
            return self.sequences.batch(rows).observed.numpy()
        return np.broadcast_to(mask[..., None], (*mask.shape, self.info.dim))

    def over_sequences(self) -> dict[str, np.ndarray]:
        """Every statistic's mean over the sequences that have it, each (S,)."""
        kept = {name: values[:, ~np.isnan(values[0])] for name, values in self.values.items()}
        return {name: values.mean(1) for name, values in kept.items() if values.size}

    @property
    def feature_means(self) -> np.ndarray:
        """Mean of every feature over the frames that have it, (S, D); NaN where none does."""
        numbers = self.numbers.sum(0)
        blank = np.full_like(self.totals, np.nan)
        return np.divide(self.totals, numbers, out=blank, where=numbers > 0)


def observed(
    splits: Splits, split: str, *, draws: int = 1, totals: bool = False, seed: int = 0
) -> Summary:
    """The statistics of the data.

    Grey values are probabilities under the likelihood that scores them by cross-entropy, and
    replicates of them are zeros and ones; so that like is compared with like, they are turned
    into zeros and ones at random, once for every replicate.

    Args:
        splits: the data.
        split: whose sequences.
        draws: replicates S to compare with; only grey values need more than one.
        totals: as of `Summary`.
        seed: of the zeros and ones.
    """
    sequences, grey = splits[split], splits.info.kind == "unit"
    batch = sequences.batch(np.arange(len(sequences)))
    x, mask, rows = batch.x.numpy(), batch.mask.numpy(), np.arange(len(sequences))
    summary = Summary(splits.info, draws if grey else 1, sequences, totals=totals)
    rng = numpy_generator(seed, "binarise")
    for draw in range(draws if grey else 1):
        values = rng.random(x.shape, dtype=np.float32) < x if grey else x
        summary.add(values[None], mask, slice(draw, draw + 1), rows, seen=x)
    return summary


def posterior_replicates(tree: xr.DataTree, splits: Splits, *, totals: bool = False) -> Summary:
    """The statistics of the replicates in a tree from `pyrodgm.evaluate.posterior.to_datatree`.

    Each frame was drawn given the observed frames before it and the guide's latents, which have
    seen the frame itself: the easier test, of the fit. Frames of one replicate do not go on from
    each other.
    """
    sequences = splits[tree.attrs["split"]]
    x = tree["posterior_predictive"].to_dataset()["x"].values[0]
    if sequences.centre is not None:
        x = sequences.centred(torch.from_numpy(x)).numpy()
    rows = np.arange(len(sequences))
    batch = sequences.batch(rows)
    summary = Summary(splits.info, len(x), sequences, totals=totals)
    seen, every = batch.x.numpy(), slice(0, len(x))
    summary.add(x, batch.mask.numpy(), every, rows, seen=seen, goes_on=False)
    return summary


def prior_replicates(
    model: SequenceModel, splits: Splits, split: str, *, draws: int = 100, seed: int = 0
) -> Summary:
    """The statistics of whole sequences drawn from the model, of the lengths that the data has.

    The harder test: what the model does by itself, given conditions alone, its errors fed back.

    Args:
        model: a sequence model.
        splits: the data.
        split: whose lengths.
        draws: replicates S of the whole split.
        seed: of the draws; the global generator is left alone.
    """
    sequences, like = splits[split], next(model.parameters())
    summary = Summary(splits.info, draws, sequences, totals=scores_totals(model))
    with forked(seed, "prior replicates"):
        for rows, part in chunks(sequences.lengths, draws):
            lengths = sequences.lengths[rows]
            mask = np.arange(lengths.max()) < lengths[:, None]
            num = (part.stop - part.start) * len(rows)
            shape = (part.stop - part.start, *mask.shape, -1)
            given = sequences.batch(rows).to(like.device).conditions
            given = None if given is None else given.expand(shape).flatten(0, 1)
            x = generate(model, num, mask.shape[1], like, conditions=given)["x"]
            summary.add(x.reshape(shape).cpu().numpy(), mask, part, rows)
    return summary


def p_values(data: Summary, replicates: Summary) -> dict[str, float]:
    r"""Bayesian p-value of every statistic's mean over sequences.

    .. math:: P(T_{\text{rep}} > T_{\text{obs}}) + \tfrac12 P(T_{\text{rep}} = T_{\text{obs}})

    Near 0 the replicates have too little of it, near 1 too much. ``feature means`` is the share
    of features whose own p-value lies outside [0.025, 0.975]; about 0.05 where the model is right.
    ``transitions`` is the same of the pairs of symbols that follow each other in the data.

    Args:
        data: from `observed`, with as many draws or one.
        replicates: from `posterior_replicates` or `prior_replicates`.
    """
    of_data, of_replicates = data.over_sequences(), replicates.over_sequences()
    values = {
        name: float(p_value(of_data[name], replicated))
        for name, replicated in of_replicates.items()
    }
    known = ~np.isnan(data.feature_means).all(0)
    values[FEATURE_MEANS] = share_off(p_value(data.feature_means, replicates.feature_means)[known])
    if data.pairs.any():
        values[TRANSITIONS] = share_off(p_value(data.pairs, replicates.pairs)[data.pairs[0] > 0])
    return values


def misfits(p: Mapping[str, float], level: float = 0.05) -> dict[str, str]:
    """Which statistics the replicates miss, and in which direction.

    Of the means of features a few always are; they count where they are several times as many.

    >>> misfits({"activity": 0.4, "persistence": 0.0, "feature means": 0.3})
    {'persistence': 'too low', 'feature means': 'off'}
    """
    found = {
        name: "too low" if value < 0.5 else "too high"
        for name, value in p.items()
        if name not in SHARES and abs(value - 0.5) > (1 - level) / 2
    }
    return found | {name: "off" for name in SHARES if p.get(name, 0) > MANY * level}
