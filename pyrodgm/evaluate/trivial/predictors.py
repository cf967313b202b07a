"""Trivial predictors of the next frame, shown beside every prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo, Sequences, Splits
from pyrodgm.distributions import Symbols
from pyrodgm.errors import LeftOutWarning
from pyrodgm.evaluate.trivial.kernel_ridge import DualRidgeAR
from pyrodgm.evaluate.trivial.lookback import carried, lags, pairs
from pyrodgm.evaluate.trivial.symbols import symbol_counts, symbol_predictors
from pyrodgm.networks.inputs import means, spread

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # relative to the inputs' mean variance
MOST_NUMBERS = 20_000_000  # size limit of the largest array of an autoregression: 160 MB

Predictor = Callable[[Batch], Tensor]


def baselines(splits: Splits, order: int) -> dict[str, Predictor]:
    """Predictors that map a batch to predictions of every frame, (B, T, D); see `predictors`.

    Args:
        splits: the data; fitted on training, with a penalty chosen on validation.
        order: of the autoregression, in frames.
    """
    symbolic = splits.info.kind == "categorical"
    counts = symbol_counts(splits.train, splits.info) if symbolic else {}
    return predictors(splits.info, order, autoregression(splits, order), counts)


def autoregression(splits: Splits, order: int) -> Linear | None:
    """The linear autoregression of a dataset, in the cheaper of two forms.

    Real features are standardised, so that one penalty suits features with different units.

    The result is None for counts and symbols. It is None, with a `LeftOutWarning`, if frames are so
    wide that both forms would need gigabytes.

    Args:
        splits: the data.
        order: number of frames before.
    """
    if splits.info.kind in ("categorical", "count"):
        return None
    mean, inputs = means(splits.info), order * splits.info.dim
    frames = splits.train.num_frames - len(splits.train)
    if min(frames, inputs) * inputs > MOST_NUMBERS:
        warnings.warn(
            f"'linear AR({order})' is omitted: it would need matrices of "
            f"{min(frames, inputs):,} by {inputs:,} numbers for frames of {len(mean):,} features",
            LeftOutWarning,
            stacklevel=2,
        )
        return None
    ridge = RidgeAR if frames >= inputs else DualRidgeAR
    if splits.info.kind != "real":
        return ridge(splits.train, splits.valid, order, mean, PENALTIES)
    scale = spread(splits.info)
    train, valid = splits.train.scaled(scale), splits.valid.scaled(scale)
    return ridge(train, valid, order, mean / scale, PENALTIES)


def from_state(order: int, state: Mapping[str, Tensor]) -> Linear:
    """The autoregression with this state, without its data."""
    form = DualRidgeAR if "dual" in state else RidgeAR
    return form.from_state(order, state)


def predictors(
    info: DataInfo,
    order: int,
    linear: Linear | None,
    counts: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, Predictor]:
    """Predictors that map a batch to predictions of every frame, (B, T, D).

    Args:
        info: facts of the data, with the means of training.
        order: of the autoregression, in frames.
        linear: from `autoregression`; None for no autoregression.
        counts: for categorical data, from `pyrodgm.evaluate.trivial.symbols.symbol_counts`.

    Returns:
        "training mean"; "copy-last", the frame before; "linear extrapolation" from the last two
        frames, not for bits; "linear AR(n)", see `RidgeAR`. Missing values repeat the last observed
        value. Linear predictions are clipped to [0, 1] if the data lies there; counts have no
        linear predictors. For categorical data the predictions are probabilities of all symbols,
        (B, T, S): "training frequencies", "copy-last", with probability one, and "Markov chain per
        feature"; see `pyrodgm.evaluate.trivial.symbols`.
    """
    if info.kind == "categorical":
        return _of_symbols(info, counts)
    kind, mean = info.kind, means(info)
    found: dict[str, Predictor] = {
        "training mean": lambda batch: mean.to(batch.x).expand_as(batch.x),
        "copy-last": lambda batch: lags(carried(batch), 1),
    }
    if kind == "count":
        return found
    if kind != "binary":
        found["linear extrapolation"] = lambda batch: extrapolate(carried(batch))
    if linear is not None:
        real = kind == "real"
        found[f"linear AR({order})"] = _standardised(linear, spread(info)) if real else linear
    if kind == "real":
        return found
    return {name: _within_unit(predictor) for name, predictor in found.items()}


def _standardised(linear: Linear, scale: Tensor) -> Predictor:
    """A predictor of frames that was fitted on frames divided by a scale."""
    return lambda batch: scale * linear(replace(batch, x=batch.x / scale))


def _of_symbols(info: DataInfo, counts: Mapping[str, np.ndarray]) -> dict[str, Predictor]:
    found, symbols = symbol_predictors(counts, info), Symbols(info.symbols)
    named = {"training frequencies": found["independent"]} if found else {}
    named["copy-last"] = lambda batch: symbols.one_hot(lags(carried(batch), 1))
    if "markov" in found:
        named["Markov chain per feature"] = found["markov"]
    return named


def _within_unit(predictor: Predictor) -> Predictor:
    """The same predictor, clipped to [0, 1]."""
    return lambda batch: predictor(batch).clamp(0.0, 1.0)


def extrapolate(x: Tensor) -> Tensor:
    r"""Linear extrapolation from the last two frames, :math:`2 x_{t-1} - x_{t-2}`."""
    last, before = lags(x, 2).chunk(2, -1)
    return 2 * last - before


class Moments:
    r"""Sums over frames t >= 2 of products of a frame and the n before it, all centred.

    .. math:: G = \sum_t u_t u_t^T, \qquad C = \sum_t u_t x_t^T, \qquad s = \sum_t |x_t|^2,
        \qquad u_t = (x_{t-1}, \dots, x_{t-n})

    In u, missing values repeat the last observed value. C and s are sums over the observed values,
    scaled up by the share of frames with an observed value.

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
        for lagged, frames, seen in pairs(sequences, order, centre):
            u, now = lagged.double(), frames.double()
            self.gram += u.T @ u
            self.cross += u.T @ now
            squares += now.square().sum(0)
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
    those of training; the normal equations are accumulated in blocks, so that memory depends on
    n D alone.

    Args:
        train: training sequences.
        valid: sequences on which the penalty is chosen.
        order: n.
        centre: training mean, (D,).
        penalties: the grid.
    """

    def __init__(
        self,
        train: Sequences,
        valid: Sequences,
        order: int,
        centre: Tensor,
        penalties: Sequence[float] = PENALTIES,
    ) -> None:
        self.order, self.centre = order, centre
        fitted, held_out = Moments(train, order, centre), Moments(valid, order, centre)
        scale = fitted.gram.diagonal().mean().clamp(min=1e-12)
        eye = torch.eye(len(fitted.gram), dtype=torch.float64)
        weights = (
            (penalty, torch.linalg.solve(fitted.gram + penalty * scale * eye, fitted.cross))
            for penalty in penalties
        )
        self.penalty, self.weight = min(weights, key=lambda pair: held_out.error(pair[1]))

    def state(self) -> dict[str, Tensor]:
        """The fitted parameters, for `from_state`."""
        return {"centre": self.centre, "weight": self.weight}

    @classmethod
    def from_state(cls, order: int, state: Mapping[str, Tensor]) -> RidgeAR:
        """The autoregression with this state, without its data."""
        made = cls.__new__(cls)
        made.order, made.centre, made.weight = order, state["centre"], state["weight"]
        return made

    def __call__(self, batch: Batch) -> Tensor:
        """Predictions of every frame, (B, T, D)."""
        centre = self.centre.to(batch.x)
        return centre + lags(carried(batch) - centre, self.order) @ self.weight.to(batch.x)


Linear = RidgeAR | DualRidgeAR
