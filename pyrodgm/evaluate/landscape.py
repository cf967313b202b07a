"""The density of a random field of two real numbers beside the true one, on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.grid import FINEST, POINTS_AT_ONCE, log_volume, points
from pyrodgm.evaluate.passes import drawing
from pyrodgm.models import EnergyModel, Model

DIM = 2


@dataclass(frozen=True)
class Landscape:
    """Log-densities in the units of the data, in nats.

    Args:
        across: first coordinate of the grid, (C,).
        up: second coordinate, (C,).
        learned: log-density of the field, (C, C), by the first coordinate and then the second.
        true: log-density of the data's distribution, (C, C), if it is known.
        kl_to_learned: KL(true || learned); None where the true density is not known.
        kl_to_true: KL(learned || true); the same.
    """

    across: np.ndarray
    up: np.ndarray
    learned: np.ndarray
    true: np.ndarray | None
    kl_to_learned: float | None
    kl_to_true: float | None

    def to_dict(self) -> dict[str, Any]:
        """The divergences, for JSON; empty where the true density is not known."""
        if self.kl_to_learned is None:
            return {}
        return {"kl_true_learned_nats": self.kl_to_learned, "kl_learned_true_nats": self.kl_to_true}

    def text(self) -> str:
        """The divergences in words; empty where the true density is not known."""
        if self.kl_to_learned is None:
            return ""
        return (
            f"KL(true || learned) = {self.kl_to_learned:.4g} and KL(learned || true) = "
            f"{self.kl_to_true:.4g} nats, by integration; true is the mixture of equal weights at "
            "the known modes."
        )


def has_landscape(model: Model, info: DataInfo) -> bool:
    """Whether a model is a field of rows of two real numbers, without conditions."""
    plane = info.kind == "real" and info.dim == DIM and not info.num_conditions
    return plane and isinstance(model, EnergyModel) and model.traits.sequential is False


def landscape(model: EnergyModel, info: DataInfo) -> Landscape:
    r"""The density of a field on a grid of eight standard deviations, and its divergences.

    .. math:: \mathrm{KL}(p_0 \,\|\, p) = \int p_0 \log \frac{p_0}{p} \, dx

    Where modes are known, :math:`p_0` is the mixture of normal distributions of equal weight and
    size around them.

    Args:
        model: a field of rows of two real numbers.
        info: facts of the data that it was fitted on.
    """
    codes = points(DIM, FINEST)
    with drawing(model, 0, "landscape") as device:
        x = model.codes.decoded(codes.to(device))
        parts = [model.potential(rows, Batch.of(rows)) for rows in x[:, None].split(POINTS_AT_ONCE)]
        nats = torch.cat(parts)[:, 0].double().cpu()
    volume = log_volume(DIM, FINEST) + model.codes.log_volume
    learned = nats - nats.logsumexp(0) - volume
    places = x.double().cpu() + torch.tensor(info.centre or (0.0,) * DIM, dtype=torch.float64)
    true = of_mixture(places, info)
    divergences: tuple[float, float] | tuple[None, None] = (None, None)
    if true is not None:
        divergences = _kl(true, learned, volume), _kl(learned, true, volume)
    size = FINEST + 1
    grid = places.view(size, size, DIM)
    shaped = [None if each is None else each.view(size, size).numpy() for each in (learned, true)]
    assert shaped[0] is not None
    across, up = grid[:, 0, 0].numpy(), grid[0, :, 1].numpy()
    return Landscape(across, up, shaped[0], shaped[1], *divergences)


def of_mixture(x: Tensor, info: DataInfo) -> Tensor | None:
    """The log-density of rows (N, D) under the mixture of equal weights at known modes, (N,)."""
    if not info.modes or not info.mode_std:
        return None
    modes, std = torch.tensor(info.modes, dtype=x.dtype), float(info.mode_std)
    constant = math.log(len(modes)) + x.shape[1] * math.log(std * math.sqrt(2 * math.pi))
    squared = torch.cdist(x, modes, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-0.5 * squared / std**2).logsumexp(1) - constant


def _kl(p: Tensor, q: Tensor, volume: float) -> float:
    """The divergence of log-densities on a grid, whose cells have a log volume."""
    shares = (p + volume).exp()
    return float((shares * (p - q)).nan_to_num(0.0).sum())
