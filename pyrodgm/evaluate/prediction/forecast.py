"""Forecasts: mean, quantiles and errors of many continuations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.arguments import check_whole
from pyrodgm.data.base import Sequences
from pyrodgm.distributions import Symbols
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.particles import beginning, symbols_of, weighted_quantiles
from pyrodgm.errors import UsageError
from pyrodgm.evaluate.passes import drawing, portions
from pyrodgm.evaluate.prediction.continuation import ahead
from pyrodgm.evaluate.trivial.predictors import carried
from pyrodgm.guides import Guide
from pyrodgm.models import Model

QUANTILES = (0.1, 0.5, 0.9)

Start = int | Literal["end"] | None


@dataclass(frozen=True)
class Forecast:
    """Continuations of N' sequences over H frames, and their errors.

    Args:
        rows: of the sequences in their split, (N',).
        starts: number of observed frames used of each, (N',).
        mean: of every frame, (N', H, D); for categorical features the probabilities of all symbols,
            (N', H, S).
        levels: of the quantiles, (Q,); empty for categorical features, which have no order.
        quantiles: of the draws, (Q, N', H, D).
        draw: one continuation, (N', H, D).
        errors: squared error of the mean, summed over observed features, (N', H); NaN after the end
            of a sequence and where nothing was observed.
        copy_last: the same for repeating the last observed value of every feature.
        wrong: share of categorical features whose most probable symbol was wrong, (N', H); None
            for other data.
        copy_last_wrong: the same for repeating the last observed symbol.
    """

    rows: np.ndarray
    starts: np.ndarray
    mean: np.ndarray
    levels: np.ndarray
    quantiles: np.ndarray
    draw: np.ndarray
    errors: np.ndarray
    copy_last: np.ndarray
    wrong: np.ndarray | None = None
    copy_last_wrong: np.ndarray | None = None

    @property
    def horizon(self) -> int:
        """Frames forecast, H."""
        return self.mean.shape[1]

    def by_horizon(self) -> list[dict[str, Any]]:
        """Mean squared errors over sequences that are long enough, one row per frame ahead.

        For categorical features they are errors of the probabilities, and the accuracy is added.
        """
        rows = [
            {
                "ahead": ahead,
                "sequences": int((~np.isnan(errors)).sum()),
                "squared_error": _mean(errors),
                "standard_error": _standard_error(errors),
                "copy_last": _mean(copied),
            }
            for ahead, (errors, copied) in enumerate(
                zip(self.errors.T, self.copy_last.T, strict=True), start=1
            )
        ]
        if self.wrong is not None and self.copy_last_wrong is not None:
            for row, wrong, copied in zip(rows, self.wrong.T, self.copy_last_wrong.T, strict=True):
                row["accuracy"] = _share_right(wrong)
                row["copy_last_accuracy"] = _share_right(copied)
        return rows


def _mean(errors: np.ndarray) -> float | None:
    kept = errors[~np.isnan(errors)]
    return float(kept.mean()) if len(kept) else None


def _share_right(wrong: np.ndarray) -> float | None:
    share = _mean(wrong)
    return None if share is None else 1 - share


def _standard_error(errors: np.ndarray) -> float | None:
    kept = errors[~np.isnan(errors)]
    return float(kept.std(ddof=1) / math.sqrt(len(kept))) if len(kept) > 1 else None


def forecast(
    model: Model,
    guide: Guide,
    sequences: Sequences,
    *,
    horizon: int,
    start: Start = None,
    samples: int = 100,
    quantiles: Sequence[float] | None = None,
    means: bool = False,
    seed: int = 0,
) -> Forecast:
    r"""Filter the first frames of every sequence, then draw continuations from the model.

    .. math:: z^s_{\le T_0} \sim \hat p(z \mid x_{\le T_0}), \qquad
        (z^s_t, x^s_t) \sim p(z_t, x_t \mid z^s_{<t}, x_{\le T_0}, x^s_{T_0 < \cdot < t})

    The mean is that of :math:`\mathbb{E}[x_t \mid z^s_{\le t}, \dots]`, quantiles are those of the
    draws.

    Args:
        model: the model p.
        guide: the guide q.
        sequences: the split; sequences that end before the start are omitted.
        horizon: frames to forecast, H. Frames with unknown conditions are NaN; see
            `pyrodgm.data.ahead`.
        start: number of observed frames used, T_0; by default all but the last H of each sequence.
            "end" uses all frames; there are then no errors.
        samples: particles, and continuations of each sequence, S.
        quantiles: levels in [0, 1], `QUANTILES` if not given; categorical features have none.
        means: whether frames take, and feed back, their mean given the latents; for grey values.
        seed: of the draws; the global generator is left alone.

    Raises:
        UsageError: no sequence model, nothing to forecast, or invalid quantiles.
    """
    check_whole(horizon=horizon, samples=samples)
    rows, starts = _starting(sequences.lengths, horizon, start)
    reach = _reach(sequences, rows, starts, horizon)
    chosen, known = sequences.select(rows), symbols_of(model)
    levels = torch.tensor(levels_of(quantiles, known))
    drawn = _Drawn(len(rows), horizon, sequences.x.shape[1], known, levels)
    with drawing(model, seed, "forecast") as device:
        for part in portions(chosen, samples):
            batch = chosen.batch(part).to(device)
            seen = beginning(batch, torch.from_numpy(starts[part]).to(device))
            going_on = ahead(
                model, guide, seen, batch, particles=samples, samples=samples, means=means
            )
            shown, frames = int(torch.randint(samples, ())), range(int(reach[part].max()))
            for number, (distribution, x) in zip(frames, going_on, strict=False):
                drawn.keep(part, number, reach[part] > number, distribution, x, shown)
    errors = _errors(chosen, starts, drawn.mean, known)
    mean, between, draw = drawn.as_stored(sequences)
    found = Forecast(rows, starts, mean, levels.numpy(), between, draw, *errors)
    if known is None:
        return found
    return replace(found, **_mistakes(chosen, starts, drawn.mean, known))


class _Drawn:
    """Mean, quantiles and one draw of N sequences over H frames; NaN where nothing was drawn.

    Args:
        number: of sequences, N.
        horizon: frames, H.
        dim: features of a frame, D.
        known: the symbols of categorical features.
        levels: of quantiles, (Q,).
    """

    def __init__(
        self, number: int, horizon: int, dim: int, known: Symbols | None, levels: Tensor
    ) -> None:
        self.levels = levels
        size = dim if known is None else known.size
        self.mean = np.full((number, horizon, size), np.nan, np.float32)
        self.draw = np.full((number, horizon, dim), np.nan, np.float32)
        self.quantiles = np.full((len(levels), number, horizon, dim), np.nan, np.float32)

    def keep(
        self,
        rows: np.ndarray,
        ahead: int,
        there: np.ndarray,
        distribution: TorchDistribution,
        x: Tensor,
        shown: int,
    ) -> None:
        """Store one frame of some sequences.

        Args:
            rows: of the sequences, (B,).
            ahead: number of the frame, counted from the start.
            there: True for sequences that have this frame, (B,).
            distribution: distribution of the frame given each path of latents.
            x: draws, (S, B, D).
            shown: index of the draw to store.
        """
        place = rows[there], ahead
        even = torch.tensor(1 / len(x)).expand(x.shape[:2])
        self.mean[place] = expected(distribution, x.shape[:2]).mean(0).cpu().numpy()[there]
        self.draw[place] = x[shown].cpu().numpy()[there]
        found = weighted_quantiles(x, even, self.levels)
        self.quantiles[:, *place] = found.cpu().numpy()[:, there]

    def as_stored(self, sequences: Sequences) -> Iterator[np.ndarray]:
        """Mean, quantiles and draw, in the scale of the data."""
        for x in (self.mean, self.quantiles, self.draw):
            yield sequences.uncentred(torch.from_numpy(x)).numpy()


def levels_of(quantiles: Sequence[float] | None, known: Symbols | None) -> tuple[float, ...]:
    """The levels of the quantiles to compute.

    Args:
        quantiles: the requested levels; `QUANTILES` if not given.
        known: the symbols of categorical features, which have no order and no quantiles.

    Raises:
        UsageError: quantiles of categorical features, or a level outside of [0, 1].
    """
    if known is not None and quantiles:
        raise UsageError(
            "categorical features have no order and therefore no quantiles; do not give quantiles: "
            "the result has the probabilities of all symbols"
        )
    levels = QUANTILES if quantiles is None else tuple(quantiles)
    if not all(0 <= level <= 1 for level in levels):
        raise UsageError(f"quantiles are {', '.join(map(str, levels))}; give levels in [0, 1]")
    return levels if known is None else ()


def _starting(lengths: np.ndarray, horizon: int, start: Start) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the sequences that can be forecast, and the start of each."""
    if start == "end":
        return np.arange(len(lengths)), lengths
    if start is not None:
        check_whole(start=start)
    starts = lengths - horizon if start is None else np.full(len(lengths), start)
    rows = np.flatnonzero((starts > 0) & (starts < lengths))
    if not len(rows):
        seen = f"the last {horizon} frames" if start is None else f"frame {start} on"
        raise UsageError(
            f"no sequence can be forecast from {seen}: the longest has {lengths.max()} frames; "
            "give another start, at least 1, or 'end' to forecast after the last frame"
        )
    return rows, starts[rows]


def _what_came(
    sequences: Sequences, starts: np.ndarray, horizon: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For every sequence the H' true frames, their observed features, and the last values before.

    Their shapes are (H', D), (H', D) and (D,).
    """
    for row, start in enumerate(starts):
        batch, now = sequences.batch([row]), slice(start, start + horizon)
        yield batch.x[0, now], batch.observed[0, now], carried(batch)[0, start - 1]


def _reach(sequences: Sequences, rows: np.ndarray, starts: np.ndarray, horizon: int) -> np.ndarray:
    """Number of frames ahead with known conditions, for each sequence."""
    if sequences.conditions is None:
        return np.full(len(rows), horizon)
    known = np.minimum(sequences.lengths[rows] - starts, horizon)
    if not known.any():
        raise UsageError(
            "frames after the end of the data cannot be forecast without their "
            f"{sequences.conditions.shape[-1]} conditions; give them as run.forecast(..., "
            "conditions=...), pyrodgm predict --conditions FILE, or start earlier"
        )
    return known


def _errors(
    sequences: Sequences, starts: np.ndarray, mean: np.ndarray, known: Symbols | None
) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of the forecast, and of repeating the last observed values, both (N', H).

    The forecast is in the scale of batches.
    """
    errors, copied = np.full((2, *mean.shape[:2]), np.nan)
    for row, (came, seen, last) in enumerate(_what_came(sequences, starts, mean.shape[1])):
        if known is not None:
            came, last = known.one_hot(came), known.one_hot(last)
            seen = seen[:, known.owner]
        expected = torch.from_numpy(mean[row, : len(came)])
        there = np.flatnonzero(seen.any(-1))
        errors[row, there] = (seen * (came - expected).square()).sum(-1)[there]
        copied[row, there] = (seen * (came - last).square()).sum(-1)[there]
    return errors, copied


def _mistakes(
    sequences: Sequences, starts: np.ndarray, mean: np.ndarray, known: Symbols
) -> dict[str, np.ndarray]:
    """Shares of wrongly predicted categorical features, by field of `Forecast`."""
    wrong, copied = np.full((2, *mean.shape[:2]), np.nan)
    for row, (came, seen, last) in enumerate(_what_came(sequences, starts, mean.shape[1])):
        likeliest = known.likeliest(torch.from_numpy(mean[row, : len(came)]))
        number = seen.sum(-1).double()
        there = np.flatnonzero(number)
        wrong[row, there] = (((likeliest != came) & seen).sum(-1) / number)[there]
        copied[row, there] = (((last != came) & seen).sum(-1) / number)[there]
    return {"wrong": wrong, "copy_last_wrong": copied}
