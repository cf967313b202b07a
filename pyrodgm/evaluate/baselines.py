"""How well is the next frame predicted without a model? No prediction is shown without these."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences, Splits
from pyrodgm.data.loader import evaluation_batches

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean variance of the inputs
FRAMES_AT_ONCE = 10_000

Predictor = Callable[[Batch], Tensor]


def baselines(splits: Splits, order: int) -> dict[str, Predictor]:
    """Predictors from a batch to what they expect of every frame, (B, T, D).

    Args:
        splits: the data.
        order: how many frames back the autoregression looks.

    Returns:
        "training mean"; "copy-last", the frame before; "linear extrapolation", every feature going
        on as between the last two frames, which for bits would be the frame before; "linear AR(n)",
        see `RidgeAR`. Over a gap a feature keeps its last value. Linear predictors stay within
        [0, 1] where the data does, and counts have none.
    """
    kind, mean = splits.info.kind, torch.tensor(splits.info.mean)
    found: dict[str, Predictor] = {
        "training mean": lambda batch: mean.to(batch.x).expand_as(batch.x),
        "copy-last": lambda batch: lags(carried(batch), 1),
    }
    if kind == "count":
        return found
    if kind != "binary":
        found["linear extrapolation"] = lambda batch: extrapolate(carried(batch))
    found[f"linear AR({order})"] = RidgeAR(splits.train, splits.valid, order, mean)
    if kind == "real":
        return found
    return {name: _within_unit(predictor) for name, predictor in found.items()}


def _within_unit(predictor: Predictor) -> Predictor:
    """The same, cut off at 0 and 1."""
    return lambda batch: predictor(batch).clamp(0.0, 1.0)


def carried(batch: Batch) -> Tensor:
    """Observations where every feature keeps its last value over a gap, (B, T, D).

    Before its first value it has the training mean.
    """
    if batch.seen is None:
        return batch.x
    t = torch.arange(batch.length, device=batch.x.device)[:, None].expand_as(batch.seen)
    last = torch.where(batch.seen, t, -1).cummax(1).values
    return torch.where(last >= 0, batch.x.gather(1, last.clamp(min=0)), batch.x)


def lags(x: Tensor, order: int) -> Tensor:
    """The last n frames before each, newest first, as though the first had stood still before it.

    Args:
        x: (B, T, D).
        order: n.

    Returns:
        (B, T, n D); what the first frame has is itself.

    >>> lags(torch.tensor([[[1.0], [2.0], [3.0]]]), 2).tolist()
    [[[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]
    """
    frames = torch.arange(x.shape[1], device=x.device)
    return torch.cat([x[:, (frames - lag).clamp(min=0)] for lag in range(1, order + 1)], -1)


def extrapolate(x: Tensor) -> Tensor:
    r"""Every feature goes on as between the last two frames, :math:`2 x_{t-1} - x_{t-2}`."""
    last, before = lags(x, 2).chunk(2, -1)
    return 2 * last - before


class Moments:
    r"""Sums over frames t >= 2 of products of a frame and the n before it, all less a centre.

    .. math:: G = \sum_t u_t u_t^T, \qquad C = \sum_t u_t x_t^T, \qquad s = \sum_t |x_t|^2,
        \qquad u_t = (x_{t-1}, \dots, x_{t-n})

    Over a gap, what is looked back on keeps its last value; C and s are those of the values that
    were observed, times the share of frames of which there are some.

    Args:
        sequences: frames of dimension D.
        order: n.
        centre: (D,).
    """

    def __init__(self, sequences: Sequences, order: int, centre: Tensor) -> None:
        size = len(centre)
        self.gram = torch.zeros(order * size, order * size, dtype=torch.float64)
        self.cross = torch.zeros(order * size, size, dtype=torch.float64)
        squares, observed = torch.zeros(2, size, dtype=torch.float64)
        self.frames = 0
        for rows in evaluation_batches(sequences.lengths, FRAMES_AT_ONCE):
            batch = sequences.batch(rows)
            counts = batch.mask.clone()
            counts[:, 0] = False
            u = lags(carried(batch) - centre.to(batch.x), order)[counts]
            seen = torch.ones_like(batch.x) if batch.seen is None else batch.seen.to(batch.x)
            now, seen = ((batch.x - centre.to(batch.x)) * seen)[counts], seen[counts]
            self.gram += u.T @ u
            self.cross += u.T @ now
            squares += now.double().square().sum(0)
            observed += seen.double().sum(0)
            self.frames += len(now)
        weight = self.frames / observed.clamp(min=1)
        self.cross *= weight
        self.square = float((squares * weight).sum())

    def error(self, weight: Tensor) -> float:
        """Mean over frames of the squared error of the prediction W^T u."""
        explained = 2 * (weight * self.cross).sum() - (weight * (self.gram @ weight)).sum()
        return (self.square - float(explained)) / max(1, self.frames)


class RidgeAR:
    r"""Linear autoregression of order n, in closed form.

    .. math:: W = (G + \lambda \tfrac{\mathrm{tr}\, G}{n D} I)^{-1} C

    with :math:`\lambda` from a grid, chosen on validation; see `Moments`. Means and covariances are
    those of training; the normal equations are summed up in parts, so that memory depends on n D
    alone.

    Args:
        train: fitted on these.
        valid: where the penalty is chosen.
        order: n.
        centre: training mean, (D,).
    """

    def __init__(self, train: Sequences, valid: Sequences, order: int, centre: Tensor) -> None:
        self.order, self.centre = order, centre
        fitted, held_out = Moments(train, order, centre), Moments(valid, order, centre)
        scale = fitted.gram.diagonal().mean().clamp(min=1e-12)
        eye = torch.eye(len(fitted.gram), dtype=torch.float64)
        weights = {
            penalty: torch.linalg.solve(fitted.gram + penalty * scale * eye, fitted.cross)
            for penalty in PENALTIES
        }
        self.penalty = min(weights, key=lambda penalty: held_out.error(weights[penalty]))
        self.weight = weights[self.penalty]

    def __call__(self, batch: Batch) -> Tensor:
        """What is expected of every frame, (B, T, D)."""
        centre = self.centre.to(batch.x)
        return centre + lags(carried(batch) - centre, self.order) @ self.weight.to(batch.x)
