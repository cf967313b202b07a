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
        info: facts of the data. Counts are converted to shares of the frame's total, because the
            total is given to the model; activity and spread are then undefined. Real numbers are
            standardised, so that units have no effect; constant features are zero.
        draws: S.
        sequences: the N sequences that are replicated.
        totals: whether the model draws the total of counts; they are then used unchanged.

    Attributes:
        values: per statistic, replicate and sequence, each (S, N), NaN where it is not defined.
            ``activity``: mean over frames and features. ``spread``: standard deviation over frames
            of a frame's sum, which is the number of ones in binary data. ``persistence``: one
            minus the mean absolute change from one frame to the next, in binary data the share of
            features that stay the same. ``one-step persistence``: the same relative to the observed
            frame before, for replicates drawn given the observed past.
        totals: sum of every feature over all frames, (S, D).
        numbers: number of frames in which every feature was observed, (D,).
        counts: number of frames with 0, 1, ... ones, (S, D + 1); for bits only.
        pairs: counts of successive symbols of the same feature, (S, C, C); empty if the data is not
            categorical or has more than 64 symbols. For categorical data, totals and numbers are
            those of symbols, so that feature means are frequencies; persistence is the share of
            features that keep their symbol; activity and spread are undefined.
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
        """Add some replicates of some sequences.

        Args:
            x: the replicates, in the scale of batches, (K, B, T, D).
            mask: True where a frame is data, (B, T).
            part: slice of the S replicates.
            rows: rows of the N sequences.
            seen: the observed sequences that frames are conditioned on, if any, (B, T, D).
            goes_on: whether each frame of a replicate was drawn given the one before in it.
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
        """Add a replicate to totals, ones and pairs, given the frames before its frames."""
        if self.info.kind == "categorical":
            before, frames = (self._hot(each, there) for each in (before, frames))
            self.pairs[draw] += symbol_pairs(before, frames, self.info.symbols)
        self.totals[draw] += frames.sum((0, 1), dtype=np.float64)
        if self.info.kind in ("binary", "unit"):
            top = self.counts.shape[1]
            ones = np.rint(frames.sum(-1)[mask]).clip(0, top - 1).astype(np.int64)
            self.counts[draw] += np.bincount(ones, minlength=top)

    def _hot(self, frames: np.ndarray, there: np.ndarray) -> np.ndarray:
        """One-hot coding of the symbols, (B, T, S); zeros where missing."""
        return indicators(np.where(there, frames, NO_SYMBOL), self.info.symbols)

    def _of_features(self, there: np.ndarray) -> np.ndarray:
        """Values of features, (..., D), repeated for each of their symbols, (..., S)."""
        sizes = [len(own) for own in self.info.symbols]
        return np.repeat(there, sizes, axis=-1) if sizes else there

    def _scaled(self, frames: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Counts as shares of their frame's total, real numbers in standard deviations."""
        if self.info.kind == "real":
            frames = ((frames - self.mean) * self.precision).astype(np.float32)
        frames = np.where(there, frames, 0)
        if not self.as_shares:
            return frames
        return frames / frames.sum(-1, keepdims=True).clip(1)

    def _there(self, rows: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Mask of observed features, (B, T, D), which is applied to replicates too."""
        if self.sequences.has_missing:
            return self.sequences.batch(rows).observed.numpy()
        return np.broadcast_to(mask[..., None], (*mask.shape, self.info.dim))

    def over_sequences(self) -> dict[str, np.ndarray]:
        """Mean of every statistic over the sequences for which it is defined, each (S,)."""
        kept = {name: values[:, ~np.isnan(values[0])] for name, values in self.values.items()}
        return {name: values.mean(1) for name, values in kept.items() if values.size}

    @property
    def feature_means(self) -> np.ndarray:
        """Mean of every feature over frames in which it was observed, (S, D); NaN if never."""
        blank = np.full_like(self.totals, np.nan)
        return np.divide(self.totals, self.numbers, out=blank, where=self.numbers > 0)
