"""Test statistics of sequences: of the data, and of replicates of it."""

from __future__ import annotations

import numpy as np

from pyrodgm.data.base import DataInfo, Sequences
from pyrodgm.data.info import NO_SYMBOL
from pyrodgm.data.symbols import indicators
from pyrodgm.evaluate.posterior.statistics import (
    activity,
    num_pairs,
    persistence,
    spread,
    symbol_pairs,
    symbols_kept,
)
from pyrodgm.networks.inputs import means

STATISTICS = ("activity", "spread", "persistence", "one-step persistence")


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
        numbers: in how many frames every feature is there, (D,).
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
        self.numbers = self._of_features((~sequences.x.isnan()).sum(0).numpy())
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
        """What is known of features, (..., D), for each number whose mean is taken."""
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
        blank = np.full_like(self.totals, np.nan)
        return np.divide(self.totals, self.numbers, out=blank, where=self.numbers > 0)
